-- depends: 0026_bodies
-- Editions of Zoho Books differ in the parameters that their lists take: what one refuses is not sent to it again.

create table tds.refused_parameter (
    organization_id text not null,
    api_path        text not null,
    parameter       text not null,
    value           text not null,
    message         text not null,
    refused_at      timestamptz not null,
    constraint refused_parameter_pkey primary key (organization_id, api_path, parameter)
);
comment on table tds.refused_parameter is
'Parameters that the API has refused for a list of an organisation (400, code 2): its pulls leave them off. Delete a row to have one '
'tried again.';
comment on column tds.refused_parameter.organization_id is 'Zoho organisation.';
comment on column tds.refused_parameter.api_path is 'The list, as in tds.entity.';
comment on column tds.refused_parameter.parameter is 'Name of the parameter.';
comment on column tds.refused_parameter.value is 'The value that was refused; another one is tried.';
comment on column tds.refused_parameter.message is 'What the API said.';
comment on column tds.refused_parameter.refused_at is 'When.';
