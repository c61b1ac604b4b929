create or replace function tds.says_nothing(stored text, m text, r text, hash text, doc text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.fill($sql${{t}}.sync_modified_at is not distinct from {{m}}
                        -- a read that says what a hint said is the first to say so
                        and ({{t}}.sync_rank <> 2 or {{r}} = 2)
                        and ({{t}}.sync_hash = {{hash}}
                             or {{t}}.zoho_metadata || {{doc}} = {{t}}.zoho_metadata
                                and not exists (select from jsonb_to_recordset({{t}}.sync_layers) l(m timestamptz, r smallint, keys jsonb,
                                    hidden jsonb)
                                                 where l.hidden <> '{}'
                                                    or (l.m is distinct from {{m}} or l.r = 2 and {{r}} <> 2)
                                                       -- each looked up in the object: an array is looked through
                                                       and exists (select from jsonb_array_elements_text(l.keys) k(key)
                                                                    where {{doc}} ? k.key)))$sql$,
        jsonb_build_object('t', says_nothing.stored, 'm', says_nothing.m, 'r', says_nothing.r, 'hash', says_nothing.hash,
                           'doc', says_nothing.doc));
end
$$;
comment on function tds.says_nothing(text, text, text, text, text) is
'SQL: whether a record (its modified_at, rank, hash and document) says nothing that its row does not have already, of the same version.';

create or replace function tds.is_later(stored text, m text, o text, r text) returns text
language plpgsql stable
set search_path = pg_catalog, pg_temp
as $$
begin
    return tds.fill($sql$case when {{t}}.sync_rank = 2 or {{r}} = 2
                             then {{o}} > {{t}}.sync_observed_at
                                  and case when {{t}}.sync_rank = 2 then {{m}} >= {{t}}.sync_modified_at
                                           else {{m}} > {{t}}.sync_modified_at end
                             else ({{m}}, {{o}}) > ({{t}}.sync_modified_at, {{t}}.sync_observed_at) end
                        and not exists (
                            select from jsonb_to_recordset({{t}}.sync_layers) l(m timestamptz, o timestamptz, r smallint, hidden jsonb)
                             where l.m is null
                                or case when l.r = 2 then l.hidden <> '{}' or {{m}} < l.m or {{o}} <= l.o
                                        when {{r}} = 2 then {{m}} <= l.m or {{o}} <= l.o
                                        else ({{m}}, {{o}}) <= (l.m, l.o) end)$sql$,
        jsonb_build_object('t', is_later.stored, 'm', is_later.m, 'o', is_later.o, 'r', is_later.r));
end
$$;
comment on function tds.is_later(text, text, text, text) is
'SQL: whether a record (its modified_at, observed_at and rank) is later than all that its row knows, and so shown with every key that it '
'carries: a read, if it was sent after each hint came and tells of no older edit; a hint, if it came after each read was sent and tells of '
'a newer edit.';

create or replace function tds.make_meeting(entity text) returns void
language plpgsql volatile
set search_path = pg_catalog, pg_temp
as $$
declare
    v_name   constant text := 'meet_' || make_meeting.entity;
    v_entity tds.entity;
begin
    select n.* into strict v_entity from tds.entity n where n.entity = make_meeting.entity;
    perform tds.make(v_name, 'records tds.record[]', 'setof tds.meeting', 'stable',
        tds.made_comment(format('Each of these %s beside the row it meets; see tds.meet().', make_meeting.entity),
                         'make_meeting', make_meeting.entity),
        tds.fill($body$
begin
    return query
        select k.kind, i.incoming,
               case when t.{{target_key:I}} is not null then
                   row(t.{{target_key:I}}, case when k.kind in ('fold', 'over') then t.zoho_metadata || '{}' end, t.sync_version,
                       t.sync_hash, t.sync_modified_at, t.sync_observed_at, t.sync_rank, t.sync_read_at, t.deleted_at,
                       t.sync_layers, t.sync_event)::tds.record_state end
          from (select r as incoming, count(*) over (partition by r.organization_id, r.zoho_id) as observations
                  from unnest({{me:I}}.records) r) i
          left join lateral (select t.* from zoho.{{target:I}} t
                              where t.organization_id = (i.incoming).organization_id
                                and t.{{target_key:I}} between (i.incoming).zoho_id and (i.incoming).zoho_id
                              order by t.{{target_key:I}} limit 1) t on true
         cross join lateral (select case
                   when i.observations > 1 or (i.incoming).is_delete then 'fold'
                   when t.{{target_key:I}} is null then 'new'
                   when t.deleted_at is not null then 'fold'
                   -- a detail that tells less than details do and than is known has to be looked at
                   when (i.incoming).rank = 3 and tds.tells_less((i.incoming).doc, {{detail_key:L}}) and t.zoho_metadata ? {{detail_key:L}}
                        then 'fold'
                   when {{says_nothing}} then 'unchanged'
                   when {{is_later}} then 'over'
                   else 'fold' end) k(kind);
end
$body$, jsonb_build_object(
            'me', v_name, 'target_key', v_entity.target_key, 'target', v_entity.target, 'detail_key', v_entity.detail_key,
            'says_nothing', tds.says_nothing('t', '(i.incoming).modified_at', '(i.incoming).rank', '(i.incoming).hash', '(i.incoming).doc'),
            'is_later', tds.is_later('t', '(i.incoming).modified_at', '(i.incoming).observed_at', '(i.incoming).rank'))));
end
$$;
revoke all on function tds.make_meeting(text) from public;
comment on function tds.make_meeting(text) is 'Makes tds.meet_<entity>(): records beside what their rows know of them.';
