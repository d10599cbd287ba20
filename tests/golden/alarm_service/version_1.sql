-- A file of version 0.1.0, dumped with sqlite3's iterdump.
PRAGMA user_version = 1;
BEGIN TRANSACTION;
CREATE TABLE alarm (
    alarm_id     INTEGER PRIMARY KEY,
    revision     INTEGER NOT NULL UNIQUE,
    condition_id TEXT NOT NULL,
    state        TEXT NOT NULL,
    document     TEXT NOT NULL            -- contracts.alarm.Alarm
) STRICT;
INSERT INTO "alarm" VALUES(1,4,'gas-1-high','normal','{"alarm_id":1,"revision":4,"state":"normal","is_active":false,"condition_id":"gas-1-high","channel_id":7,"title":"Methane above 25 %LEL","priority":1,"colour":"red","district_id":"north","site_id":"station-1","gateway_id":"gw-1","node_id":"gas-1","quantity":"methane_lel","unit":"%{LEL}","set_point":25.0,"value":26.5,"input":"value","input_value":26.5,"phenomenon_ns":1790000001000000000,"raised_ns":1790000100000000000,"returned_ns":1790000003000000000,"acknowledged_ns":1790000100000000001,"acknowledged_by":"zhang","note":null}');
INSERT INTO "alarm" VALUES(2,2,'gas-2-high','unacknowledged','{"alarm_id":2,"revision":2,"state":"unacknowledged","is_active":true,"condition_id":"gas-2-high","channel_id":7,"title":"Methane above 25 %LEL","priority":1,"colour":"red","district_id":"north","site_id":"station-1","gateway_id":"gw-1","node_id":"gas-1","quantity":"methane_lel","unit":"%{LEL}","set_point":25.0,"value":26.5,"input":"value","input_value":26.5,"phenomenon_ns":1790000002000000000,"raised_ns":1790000100000000000,"returned_ns":null,"acknowledged_ns":null,"acknowledged_by":null,"note":null}');
CREATE TABLE condition_life (
    condition_id TEXT PRIMARY KEY,
    alarm_id     INTEGER REFERENCES alarm,
    newest_ns    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
INSERT INTO "condition_life" VALUES('gas-1-high',1,1790000003000000000);
INSERT INTO "condition_life" VALUES('gas-2-high',2,1790000002000000000);
CREATE TABLE journal (
    entry_id     INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns      INTEGER NOT NULL,
    kind         TEXT NOT NULL,
    alarm_id     INTEGER,
    condition_id TEXT NOT NULL,
    "by"         TEXT NOT NULL,
    detail       TEXT NOT NULL,
    event_id     TEXT UNIQUE,             -- NULL for what people do
    event        TEXT                     -- contracts.alarm.ConditionEvent, whole
) STRICT;
INSERT INTO "journal" VALUES(1,1790000100000000000,'activated',1,'gas-1-high','processor','Methane above 25 %LEL: 26.5 %{LEL}, set-point 25, measured 2026-09-21T14:13:21.000Z','ec830c0e99f3594741cea944e8522108','{"event_id":"ec830c0e99f3594741cea944e8522108","condition_id":"gas-1-high","channel_id":7,"state":"active","phenomenon_ns":1790000001000000000,"detected_ns":1790000001000000000,"is_historical":false,"value":26.5,"input":"value","input_value":26.5,"set_point":25.0,"priority":1,"colour":"red","title":"Methane above 25 %LEL","gateway_id":"gw-1","node_id":"gas-1","site_id":"station-1","district_id":"north","quantity":"methane_lel","unit":"%{LEL}"}');
INSERT INTO "journal" VALUES(2,1790000100000000000,'activated',2,'gas-2-high','processor','Methane above 25 %LEL: 26.5 %{LEL}, set-point 25, measured 2026-09-21T14:13:22.000Z','702a0bc4d4ffa1e912d48023f11eece2','{"event_id":"702a0bc4d4ffa1e912d48023f11eece2","condition_id":"gas-2-high","channel_id":7,"state":"active","phenomenon_ns":1790000002000000000,"detected_ns":1790000002000000000,"is_historical":false,"value":26.5,"input":"value","input_value":26.5,"set_point":25.0,"priority":1,"colour":"red","title":"Methane above 25 %LEL","gateway_id":"gw-1","node_id":"gas-1","site_id":"station-1","district_id":"north","quantity":"methane_lel","unit":"%{LEL}"}');
INSERT INTO "journal" VALUES(3,1790000100000000001,'acknowledged',1,'gas-1-high','zhang','through console',NULL,NULL);
INSERT INTO "journal" VALUES(4,1790000100000000002,'returned',1,'gas-1-high','processor','Methane above 25 %LEL: 18 %{LEL}, set-point 25, measured 2026-09-21T14:13:23.000Z','f8b43e9875f86cf8422c34f24f7def55','{"event_id":"f8b43e9875f86cf8422c34f24f7def55","condition_id":"gas-1-high","channel_id":7,"state":"normal","phenomenon_ns":1790000003000000000,"detected_ns":1790000003000000000,"is_historical":false,"value":18.0,"input":"value","input_value":18.0,"set_point":25.0,"priority":1,"colour":"red","title":"Methane above 25 %LEL","gateway_id":"gw-1","node_id":"gas-1","site_id":"station-1","district_id":"north","quantity":"methane_lel","unit":"%{LEL}"}');
CREATE UNIQUE INDEX one_open_alarm ON alarm (condition_id) WHERE state <> 'normal';
CREATE TRIGGER alarm_is_kept BEFORE DELETE ON alarm
    BEGIN SELECT RAISE(ABORT, 'alarms are never deleted'); END;
CREATE TRIGGER journal_is_never_changed BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_never_shortened BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER journal_is_never_replaced BEFORE INSERT ON journal
    WHEN EXISTS (SELECT 1 FROM journal WHERE entry_id = NEW.entry_id OR event_id = NEW.event_id)
    BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('journal',4);
COMMIT;
