-- A database of schema version 2, dumped with pg_dump --inserts --no-owner --no-privileges.
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
CREATE FUNCTION public.refuse() RETURNS trigger
    LANGUAGE plpgsql
    AS $$ BEGIN RAISE EXCEPTION '%', TG_ARGV[0] USING ERRCODE = 'integrity_constraint_violation'; END $$;
CREATE TABLE public.audit (
    entry_id bigint NOT NULL,
    time_ns bigint NOT NULL,
    by text NOT NULL,
    revision bigint NOT NULL,
    action text NOT NULL,
    kind text NOT NULL,
    key text NOT NULL,
    detail text NOT NULL
);
ALTER TABLE public.audit ALTER COLUMN entry_id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_entry_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);
CREATE TABLE public.channel (
    channel_id bigint NOT NULL,
    node_id text NOT NULL,
    quantity text NOT NULL,
    is_retired bigint DEFAULT 0 NOT NULL,
    CONSTRAINT channel_channel_id_check CHECK (((channel_id >= 1) AND (channel_id <= '4294967295'::bigint)))
);
CREATE TABLE public.condition (
    condition_id text NOT NULL,
    channel_id bigint NOT NULL,
    input text NOT NULL,
    direction text NOT NULL,
    set_point double precision NOT NULL,
    deadband double precision NOT NULL,
    on_delay_s double precision NOT NULL,
    off_delay_s double precision NOT NULL,
    priority bigint NOT NULL,
    colour text NOT NULL,
    title text NOT NULL
);
CREATE TABLE public.district (
    district_id text NOT NULL,
    name text NOT NULL
);
CREATE TABLE public.gateway (
    gateway_id text NOT NULL,
    district_id text NOT NULL,
    name text NOT NULL
);
CREATE TABLE public.node (
    node_id text NOT NULL,
    gateway_id text NOT NULL,
    bus_id text NOT NULL,
    site_id text NOT NULL,
    model text NOT NULL,
    state text NOT NULL,
    latitude double precision,
    longitude double precision
);
CREATE VIEW public.live_channel AS
 SELECT channel.channel_id,
    channel.node_id,
    channel.quantity
   FROM (public.channel
     JOIN public.node USING (node_id))
  WHERE ((channel.is_retired = 0) AND (node.state <> 'retired'::text));
CREATE TABLE public.registry (
    one bigint NOT NULL,
    revision bigint NOT NULL,
    next_channel_id bigint NOT NULL,
    CONSTRAINT registry_one_check CHECK ((one = 1))
);
CREATE TABLE public.registry_schema (
    version bigint NOT NULL
);
CREATE TABLE public.site (
    site_id text NOT NULL,
    district_id text NOT NULL,
    domain text NOT NULL,
    name text NOT NULL,
    latitude double precision NOT NULL,
    longitude double precision NOT NULL
);
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (1, 1000, 'cli:test', 1, 'added', 'district', 'north', '{"district_id":"north","name":"North district"}');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (2, 1000, 'cli:test', 1, 'added', 'site', 'gas-station-1', '{"site_id":"gas-station-1","district_id":"north","domain":"gas","name":"Pressure regulating station 1","latitude":39.9087,"longitude":116.3975}');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (3, 1000, 'cli:test', 1, 'added', 'gateway', 'gw-north-1', '{"gateway_id":"gw-north-1","district_id":"north","name":"Cabinet at regulating station 1"}');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (4, 1000, 'cli:test', 1, 'added', 'node', 'gas-1', '{"node_id":"gas-1","gateway_id":"gw-north-1","bus_id":"rs485-1","site_id":"gas-station-1","model":"honeywell_sensepoint_xrl","state":"active","latitude":39.9088,"longitude":116.3976}');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (5, 1000, 'cli:test', 1, 'added', 'channel', 'gas-1/methane_lel', '{"channel_id":1,"node_id":"gas-1","quantity":"methane_lel"}');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (6, 1000, 'cli:test', 1, 'added', 'channel', 'gas-1/temperature', '{"channel_id":2,"node_id":"gas-1","quantity":"temperature"}');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (7, 1000, 'cli:test', 1, 'added', 'condition', 'gas-1-methane-high', '{"condition_id":"gas-1-methane-high","channel_id":1,"input":"value","direction":"above","set_point":25.0,"deadband":2.0,"on_delay_s":0.0,"off_delay_s":5.0,"priority":1,"colour":"red","title":"Methane above 25 %LEL"}');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (8, 1000, 'cli:test', 1, 'added', 'condition', 'gas-1-methane-unusual', '{"condition_id":"gas-1-methane-unusual","channel_id":1,"input":"score_ewma_z","direction":"above","set_point":0.727,"deadband":0.0,"on_delay_s":0.0,"off_delay_s":0.0,"priority":4,"colour":"blue","title":"Methane unusual"}');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (9, 1000, 'cli:test', 1, 'imported', 'fleet', 'example_fleet.toml', '8 changes');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (10, 2000, 'cli:test', 2, 'retired', 'channel', 'gas-1/temperature', 'channel_id: 2');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (11, 2000, 'cli:test', 2, 'imported', 'fleet', 'example_fleet.toml', '1 changes');
INSERT INTO public.audit OVERRIDING SYSTEM VALUE VALUES (12, 3000, 'zhang', 3, 'changed', 'node', 'gas-1', 'state: ''active'' → ''maintenance''');
INSERT INTO public.channel VALUES (1, 'gas-1', 'methane_lel', 0);
INSERT INTO public.channel VALUES (2, 'gas-1', 'temperature', 1);
INSERT INTO public.condition VALUES ('gas-1-methane-high', 1, 'value', 'above', 25, 2, 0, 5, 1, 'red', 'Methane above 25 %LEL');
INSERT INTO public.condition VALUES ('gas-1-methane-unusual', 1, 'score_ewma_z', 'above', 0.727, 0, 0, 0, 4, 'blue', 'Methane unusual');
INSERT INTO public.district VALUES ('north', 'North district');
INSERT INTO public.gateway VALUES ('gw-north-1', 'north', 'Cabinet at regulating station 1');
INSERT INTO public.node VALUES ('gas-1', 'gw-north-1', 'rs485-1', 'gas-station-1', 'honeywell_sensepoint_xrl', 'maintenance', 39.9088, 116.3976);
INSERT INTO public.registry VALUES (1, 3, 3);
INSERT INTO public.registry_schema VALUES (2);
INSERT INTO public.site VALUES ('gas-station-1', 'north', 'gas', 'Pressure regulating station 1', 39.9087, 116.3975);
SELECT pg_catalog.setval('public.audit_entry_id_seq', 12, true);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (entry_id);
ALTER TABLE ONLY public.channel
    ADD CONSTRAINT channel_node_id_quantity_key UNIQUE (node_id, quantity);
ALTER TABLE ONLY public.channel
    ADD CONSTRAINT channel_pkey PRIMARY KEY (channel_id);
ALTER TABLE ONLY public.condition
    ADD CONSTRAINT condition_pkey PRIMARY KEY (condition_id);
ALTER TABLE ONLY public.district
    ADD CONSTRAINT district_pkey PRIMARY KEY (district_id);
ALTER TABLE ONLY public.gateway
    ADD CONSTRAINT gateway_pkey PRIMARY KEY (gateway_id);
ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_pkey PRIMARY KEY (node_id);
ALTER TABLE ONLY public.registry
    ADD CONSTRAINT registry_pkey PRIMARY KEY (one);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_pkey PRIMARY KEY (site_id);
CREATE INDEX condition_of_channel ON public.condition USING btree (channel_id);
CREATE INDEX gateway_of_district ON public.gateway USING btree (district_id);
CREATE INDEX node_of_gateway ON public.node USING btree (gateway_id);
CREATE INDEX node_of_site ON public.node USING btree (site_id);
CREATE INDEX site_of_district ON public.site USING btree (district_id);
CREATE TRIGGER audit_is_append_only BEFORE DELETE OR UPDATE OR TRUNCATE ON public.audit FOR EACH STATEMENT EXECUTE FUNCTION public.refuse('the audit log is append-only');
CREATE TRIGGER channel_is_kept BEFORE DELETE OR TRUNCATE ON public.channel FOR EACH STATEMENT EXECUTE FUNCTION public.refuse('a channel keeps its number for ever');
CREATE TRIGGER channel_keeps_its_number BEFORE UPDATE OF channel_id, node_id, quantity ON public.channel FOR EACH STATEMENT EXECUTE FUNCTION public.refuse('a channel keeps its number for ever');
CREATE TRIGGER registry_is_kept BEFORE DELETE OR TRUNCATE ON public.registry FOR EACH STATEMENT EXECUTE FUNCTION public.refuse('revision and channel numbers only grow');
CREATE TRIGGER registry_only_grows BEFORE UPDATE ON public.registry FOR EACH ROW WHEN (((new.revision < old.revision) OR (new.next_channel_id < old.next_channel_id))) EXECUTE FUNCTION public.refuse('revision and channel numbers only grow');
ALTER TABLE ONLY public.channel
    ADD CONSTRAINT channel_node_id_fkey FOREIGN KEY (node_id) REFERENCES public.node(node_id);
ALTER TABLE ONLY public.condition
    ADD CONSTRAINT condition_channel_id_fkey FOREIGN KEY (channel_id) REFERENCES public.channel(channel_id);
ALTER TABLE ONLY public.gateway
    ADD CONSTRAINT gateway_district_id_fkey FOREIGN KEY (district_id) REFERENCES public.district(district_id);
ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_gateway_id_fkey FOREIGN KEY (gateway_id) REFERENCES public.gateway(gateway_id);
ALTER TABLE ONLY public.node
    ADD CONSTRAINT node_site_id_fkey FOREIGN KEY (site_id) REFERENCES public.site(site_id);
ALTER TABLE ONLY public.site
    ADD CONSTRAINT site_district_id_fkey FOREIGN KEY (district_id) REFERENCES public.district(district_id);
