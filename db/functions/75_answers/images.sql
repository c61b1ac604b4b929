create or replace function tds.take_images(organization_id text, at_most int default 20)
returns table (zoho_item_id text, image_document_id text)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    -- one at a time: of two who looked at once, the second would choose the same and get none of them
    perform tds.take_turn('tds.take_images');
    return query
    insert into tds.image as i (organization_id, zoho_item_id, image_document_id, state, leased_until, changed_at)
    select c.organization_id, c.zoho_item_id, c.image_document_id, 'wanted', v_now + interval '2 minutes', v_now
      from (select w.organization_id, w.zoho_item_id, w.image_document_id
              from public.tds_wanted_images w
              join zoho.products p on p.organization_id = w.organization_id and p.zoho_item_id = w.zoho_item_id
             where w.organization_id = take_images.organization_id and coalesce(w.not_before, v_now) <= v_now
             order by p.sync_modified_at desc nulls last, w.zoho_item_id
             limit take_images.at_most) c
     order by c.zoho_item_id
    on conflict on constraint image_pkey do update
       set image_document_id = excluded.image_document_id, state = excluded.state, leased_until = excluded.leased_until,
           changed_at = excluded.changed_at, tries = case when i.image_document_id = excluded.image_document_id then i.tries else 0 end
     where i.leased_until is null or i.leased_until <= v_now
    returning i.zoho_item_id, i.image_document_id;
end
$$;
revoke all on function tds.take_images(text, int) from public;
comment on function tds.take_images(text, int) is
'Leases wanted pictures to a fetcher for two minutes, those of the newest edits first; it answers with image_fetched() or image_failed().';

create or replace function tds.image_fetched(
    organization_id text, zoho_item_id text, image_document_id text, sha256 text, content_type text, bytes bigint, url text) returns boolean
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    update tds.image i
       set state = 'ready', sha256 = image_fetched.sha256, content_type = image_fetched.content_type, bytes = image_fetched.bytes,
           url = image_fetched.url, error = null, leased_until = null, changed_at = v_now
     where i.organization_id = image_fetched.organization_id and i.zoho_item_id = image_fetched.zoho_item_id
       and i.image_document_id = image_fetched.image_document_id;
    perform tds.keep_image_file(image_fetched.sha256, image_fetched.bytes);
    update zoho.products p
       set image_url = image_fetched.url
     where p.organization_id = image_fetched.organization_id and p.zoho_item_id = image_fetched.zoho_item_id
       and p.image_document_id = image_fetched.image_document_id;
    return found;
end
$$;
revoke all on function tds.image_fetched(text, text, text, text, text, bigint, text) from public;
comment on function tds.image_fetched(text, text, text, text, text, bigint, text) is
'Notes that a picture is stored, and shows it at its product; false if that has another picture by now.';

create or replace function tds.image_failed(organization_id text, zoho_item_id text, image_document_id text, error text,
                                            gone boolean default false)
returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_now constant timestamptz := tds.now();
begin
    update tds.image i
       set state = case when image_failed.gone then 'gone' else 'failed' end, tries = i.tries + 1, error = left(image_failed.error, 1000),
           leased_until = v_now + tds.back_off(i.tries), changed_at = v_now
     where i.organization_id = image_failed.organization_id and i.zoho_item_id = image_failed.zoho_item_id
       and i.image_document_id = image_failed.image_document_id;
end
$$;
revoke all on function tds.image_failed(text, text, text, text, boolean) from public;
comment on function tds.image_failed(text, text, text, text, boolean) is
'Notes why a picture could not be had; it is wanted again after a pause, unless there is none to be had (gone: Zoho has none, or it is '
'nothing that is kept).';

create or replace function tds.keep_image_file(sha256 text, bytes bigint) returns void
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    insert into tds.image_file as f (sha256, bytes, stored_at)
    values (keep_image_file.sha256, keep_image_file.bytes, tds.now())
    on conflict on constraint image_file_pkey do update
       set bytes = excluded.bytes, stored_at = excluded.stored_at, unneeded_at = null;
end
$$;
revoke all on function tds.keep_image_file(text, bigint) from public;
comment on function tds.keep_image_file(text, bigint) is
'Notes that a file is about to be stored, before it is: it waits for whoever removes the same one just now.';

create or replace function tds.unneeded_image_files(at_most int default 100)
returns table (sha256 text, bytes bigint, unneeded_at timestamptz)
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
begin
    return query
    select f.sha256, f.bytes, f.unneeded_at
      from tds.image_file f
     where f.unneeded_at < tds.now() - make_interval(days => greatest(1, tds.setting_int('keep_image_files_days')))
       and not exists (select from tds.image i where i.sha256 = f.sha256)
     order by f.sha256
     limit unneeded_image_files.at_most
       for update skip locked;
end
$$;
revoke all on function tds.unneeded_image_files(int) from public;
comment on function tds.unneeded_image_files(int) is
'Files that nothing has shown for longer than the setting keep_image_files_days, locked until the transaction ends: remove them, then '
'image_files_removed().';

create or replace function tds.image_files_removed(sha256s text[]) returns int
language plpgsql volatile security definer
set search_path = pg_catalog, pg_temp
as $$
declare
    v_rows int;
begin
    delete from tds.image_file f where f.sha256 = any (image_files_removed.sha256s) and f.unneeded_at is not null;
    get diagnostics v_rows = row_count;
    update tds.retention_state s set removed = s.removed + v_rows where s.what = 'image_files' and v_rows > 0;
    return v_rows;
end
$$;
revoke all on function tds.image_files_removed(text[]) from public;
comment on function tds.image_files_removed(text[]) is 'Notes that files are removed; returns how many of them were known.';

create or replace function tds.known_image_files() returns setof text
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$ select f.sha256 from tds.image_file f $$;
revoke all on function tds.known_image_files() from public;
comment on function tds.known_image_files() is 'Names of the files that the database knows of; any other is what a killed fetcher left.';

grant execute on function tds.take_images(text, int), tds.image_fetched(text, text, text, text, text, bigint, text),
    tds.image_failed(text, text, text, text, boolean), tds.keep_image_file(text, bigint), tds.unneeded_image_files(int),
    tds.image_files_removed(text[]), tds.known_image_files() to tds_poller;

create or replace view public.tds_wanted_images as
select p.organization_id, p.zoho_item_id, p.image_document_id, i.state, i.tries, i.error,
       case when i.image_document_id = p.image_document_id then i.leased_until end as not_before
  from zoho.products p
  left join tds.image i on i.organization_id = p.organization_id and i.zoho_item_id = p.zoho_item_id
 where p.image_document_id is not null
   and p.deleted_at is null
   and (i.image_document_id is distinct from p.image_document_id or i.state in ('wanted', 'failed')
        -- fetched once, given up for another, and back before that one came
        or i.state = 'ready' and p.image_url is null);
comment on view public.tds_wanted_images is
'Products whose picture is to be fetched: it never was, another one took its place, it failed, or it came back.';
comment on column public.tds_wanted_images.organization_id is 'Zoho organisation.';
comment on column public.tds_wanted_images.zoho_item_id is 'The product.';
comment on column public.tds_wanted_images.image_document_id is 'The document to fetch.';
comment on column public.tds_wanted_images.state is 'State of the last try; null: none yet.';
comment on column public.tds_wanted_images.tries is 'Times it was fetched in vain.';
comment on column public.tds_wanted_images.error is 'What the last of those answered.';
comment on column public.tds_wanted_images.not_before is 'A fetcher has it until then, or it is left alone until then after a failure.';
grant select on public.tds_wanted_images to tds_poller;
