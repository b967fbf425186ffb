-- What is published, and to whom. Prints the tables whose rows LI is given once, with the schema.
SET lock_timeout = '10s';

-- Rows that each server writes for itself: published, main's would meet LI's own, and the first clash stops all that
-- comes after it.
CREATE TEMP TABLE own (tables text, given boolean, what text);
INSERT INTO own VALUES
  ('schema_(compat_)?version|applied_.*', true, 'which schema a database has'),
  ('(.*_)?stream_pos(ition)?|stats_incremental_position|event_push_summary_.*|.*_max_pruned_stream_id', true,
   'how far a server has come in its own work'),
  ('background_updates|_temp_.*|scheduled_tasks|worker_.*locks.*|stream_positions|instance_map|cache_invalidation_.*', false,
   'that work itself, and its processes'),
  ('(access|refresh|login|open_id)_tokens|ui_auth_.*|sessions|user_ips|user_daily_visits|monthly_active_users'
   '|presence_stream|sliding_sync_connection.*', false, 'who is logged in to a server, and how'),
  ('event_push_(actions.*|summary)|user_directory.*|users_(in_public|who_share_private)_rooms|(room|user)_stats_.*', false,
   'what a server works out from the other tables'),
  ('destination.*|device_(federation|lists)_outb.*|federation_inbound_.*|received_transactions|application_services_.*',
   false, 'what is on its way to or from other servers, which LI does not speak to');

CREATE TEMP TABLE published AS
  SELECT c.oid, relname FROM pg_class c
  WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    AND NOT EXISTS (SELECT FROM own WHERE relname ~ ('^(' || tables || ')$'));

-- A published table without a primary key refuses every UPDATE and DELETE until it has a replica identity: a unique index
-- over columns that are never null, else the whole row.
SELECT format('ALTER TABLE public.%I REPLICA IDENTITY %s', relname, coalesce('USING INDEX ' || quote_ident(fit), 'FULL'))
FROM (
  SELECT relname, (
    SELECT min(i.relname) FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid
    WHERE x.indrelid = c.oid AND x.indisunique AND x.indisvalid AND x.indimmediate AND x.indpred IS NULL
      AND x.indexprs IS NULL AND NOT EXISTS (
        SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum = ANY (x.indkey) AND NOT a.attnotnull)
  ) AS fit
  FROM pg_class c JOIN published USING (oid, relname)
  WHERE relreplident = 'd' AND NOT EXISTS (SELECT FROM pg_index WHERE indrelid = c.oid AND indisprimary)
) AS bare \gexec

SELECT format('CREATE PUBLICATION %I FOR TABLE %s', :'publication', string_agg(format('public.%I', relname), ', '))
FROM published HAVING NOT EXISTS (SELECT FROM pg_publication WHERE pubname = :'publication') \gexec

SELECT format('GRANT SELECT ON %s TO %I', string_agg(format('public.%I', relname), ', '), :'reader')
FROM published \gexec
-- Sequences do not replicate: LI reads where they stand.
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO :"reader";

SELECT relname FROM pg_class JOIN own ON relname ~ ('^(' || tables || ')$')
WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND given;
