-- A file of schema version 2, dumped with sqlite3's iterdump.
PRAGMA user_version = 2;
BEGIN TRANSACTION;
CREATE TABLE audit (
    entry_id    INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ns     INTEGER NOT NULL,
    "by"        TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    action      TEXT NOT NULL,
    kind        TEXT NOT NULL,
    key         TEXT NOT NULL,
    detail      TEXT NOT NULL
) STRICT;
INSERT INTO "audit" VALUES(1,1000,'cli:test',1,'added','district','north','{"district_id":"north","name":"North district"}');
INSERT INTO "audit" VALUES(2,1000,'cli:test',1,'added','site','gas-station-1','{"site_id":"gas-station-1","district_id":"north","domain":"gas","name":"Pressure regulating station 1","latitude":39.9087,"longitude":116.3975}');
INSERT INTO "audit" VALUES(3,1000,'cli:test',1,'added','gateway','gw-north-1','{"gateway_id":"gw-north-1","district_id":"north","name":"Cabinet at regulating station 1"}');
INSERT INTO "audit" VALUES(4,1000,'cli:test',1,'added','node','gas-1','{"node_id":"gas-1","gateway_id":"gw-north-1","bus_id":"rs485-1","site_id":"gas-station-1","model":"honeywell_sensepoint_xrl","state":"active","latitude":39.9088,"longitude":116.3976}');
INSERT INTO "audit" VALUES(5,1000,'cli:test',1,'added','channel','gas-1/methane_lel','{"channel_id":1,"node_id":"gas-1","quantity":"methane_lel"}');
INSERT INTO "audit" VALUES(6,1000,'cli:test',1,'added','channel','gas-1/temperature','{"channel_id":2,"node_id":"gas-1","quantity":"temperature"}');
INSERT INTO "audit" VALUES(7,1000,'cli:test',1,'added','condition','gas-1-methane-high','{"condition_id":"gas-1-methane-high","channel_id":1,"input":"value","direction":"above","set_point":25.0,"deadband":2.0,"on_delay_s":0.0,"off_delay_s":5.0,"priority":1,"colour":"red","title":"Methane above 25 %LEL"}');
INSERT INTO "audit" VALUES(8,1000,'cli:test',1,'added','condition','gas-1-methane-unusual','{"condition_id":"gas-1-methane-unusual","channel_id":1,"input":"score_ewma_z","direction":"above","set_point":0.727,"deadband":0.0,"on_delay_s":0.0,"off_delay_s":0.0,"priority":4,"colour":"blue","title":"Methane unusual"}');
INSERT INTO "audit" VALUES(9,1000,'cli:test',1,'imported','fleet','example_fleet.toml','8 changes');
INSERT INTO "audit" VALUES(10,2000,'cli:test',2,'retired','channel','gas-1/temperature','channel_id: 2');
INSERT INTO "audit" VALUES(11,2000,'cli:test',2,'imported','fleet','example_fleet.toml','1 changes');
INSERT INTO "audit" VALUES(12,3000,'zhang',3,'changed','node','gas-1','state: ''active'' → ''maintenance''');
CREATE TABLE channel (
    channel_id  INTEGER PRIMARY KEY CHECK (channel_id BETWEEN 1 AND 4294967295),
    node_id     TEXT NOT NULL REFERENCES node,
    quantity    TEXT NOT NULL,
    is_retired  INTEGER NOT NULL DEFAULT 0,
    UNIQUE (node_id, quantity)
) STRICT;
INSERT INTO "channel" VALUES(1,'gas-1','methane_lel',0);
INSERT INTO "channel" VALUES(2,'gas-1','temperature',1);
CREATE TABLE condition (
    condition_id TEXT PRIMARY KEY,
    channel_id   INTEGER NOT NULL REFERENCES channel,
    input        TEXT NOT NULL,
    direction    TEXT NOT NULL,
    set_point    REAL NOT NULL,
    deadband     REAL NOT NULL,
    on_delay_s   REAL NOT NULL,
    off_delay_s  REAL NOT NULL,
    priority     INTEGER NOT NULL,
    colour       TEXT NOT NULL,
    title        TEXT NOT NULL
) STRICT;
INSERT INTO "condition" VALUES('gas-1-methane-high',1,'value','above',25.0,2.0,0.0,5.0,1,'red','Methane above 25 %LEL');
INSERT INTO "condition" VALUES('gas-1-methane-unusual',1,'score_ewma_z','above',0.727,0.0,0.0,0.0,4,'blue','Methane unusual');
CREATE TABLE district (
    district_id TEXT PRIMARY KEY,
    name        TEXT NOT NULL
) STRICT;
INSERT INTO "district" VALUES('north','North district');
CREATE TABLE gateway (
    gateway_id  TEXT PRIMARY KEY,
    district_id TEXT NOT NULL REFERENCES district,
    name        TEXT NOT NULL
) STRICT;
INSERT INTO "gateway" VALUES('gw-north-1','north','Cabinet at regulating station 1');
CREATE TABLE node (
    node_id     TEXT PRIMARY KEY,
    gateway_id  TEXT NOT NULL REFERENCES gateway,
    bus_id      TEXT NOT NULL,
    site_id     TEXT NOT NULL REFERENCES site,
    model       TEXT NOT NULL,
    state       TEXT NOT NULL,
    latitude    REAL,
    longitude   REAL
) STRICT;
INSERT INTO "node" VALUES('gas-1','gw-north-1','rs485-1','gas-station-1','honeywell_sensepoint_xrl','maintenance',39.9088,116.3976);
CREATE TABLE registry (
    one             INTEGER PRIMARY KEY CHECK (one = 1),
    revision        INTEGER NOT NULL,
    next_channel_id INTEGER NOT NULL
) STRICT;
INSERT INTO "registry" VALUES(1,3,3);
CREATE TABLE site (
    site_id     TEXT PRIMARY KEY,
    district_id TEXT NOT NULL REFERENCES district,
    domain      TEXT NOT NULL,
    name        TEXT NOT NULL,
    latitude    REAL NOT NULL,
    longitude   REAL NOT NULL
) STRICT;
INSERT INTO "site" VALUES('gas-station-1','north','gas','Pressure regulating station 1',39.9087,116.3975);
CREATE VIEW live_channel AS
    SELECT channel_id, node_id, quantity FROM channel JOIN node USING (node_id)
    WHERE is_retired = 0 AND state <> 'retired';
CREATE INDEX site_of_district ON site (district_id);
CREATE INDEX gateway_of_district ON gateway (district_id);
CREATE INDEX node_of_gateway ON node (gateway_id);
CREATE INDEX node_of_site ON node (site_id);
CREATE INDEX condition_of_channel ON condition (channel_id);
CREATE TRIGGER registry_only_grows BEFORE UPDATE ON registry
    WHEN NEW.revision < OLD.revision OR NEW.next_channel_id < OLD.next_channel_id
    BEGIN SELECT RAISE(ABORT, 'revision and channel numbers only grow'); END;
CREATE TRIGGER registry_is_kept BEFORE DELETE ON registry
    BEGIN SELECT RAISE(ABORT, 'revision and channel numbers only grow'); END;
CREATE TRIGGER channel_is_kept BEFORE DELETE ON channel
    BEGIN SELECT RAISE(ABORT, 'a channel keeps its number for ever'); END;
CREATE TRIGGER channel_keeps_its_number BEFORE UPDATE OF channel_id, node_id, quantity ON channel
    BEGIN SELECT RAISE(ABORT, 'a channel keeps its number for ever'); END;
CREATE TRIGGER channel_is_not_replaced BEFORE INSERT ON channel
    WHEN EXISTS (SELECT 1 FROM channel WHERE channel_id = NEW.channel_id
                 OR (node_id = NEW.node_id AND quantity = NEW.quantity))
    BEGIN SELECT RAISE(ABORT, 'a channel keeps its number for ever'); END;
CREATE TRIGGER audit_is_never_changed BEFORE UPDATE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_never_shortened BEFORE DELETE ON audit
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
CREATE TRIGGER audit_is_never_replaced BEFORE INSERT ON audit
    WHEN EXISTS (SELECT 1 FROM audit WHERE entry_id = NEW.entry_id)
    BEGIN SELECT RAISE(ABORT, 'the audit log is append-only'); END;
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('audit',12);
COMMIT;
