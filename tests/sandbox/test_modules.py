"""An organisation has the modules it is handed."""

from __future__ import annotations

import pytest

from tds_sandbox.errors import SandboxError, UnknownRecordError
from tds_sandbox.limits import UNLIMITED
from tds_sandbox.modules.contacts import Contacts
from tds_sandbox.modules.invoices import Invoices
from tds_sandbox.modules.items import Items
from tds_sandbox.organisation import Organisation
from tds_sandbox.serve import running
from tests.sandbox.conftest import sign_in

FEW = (Items(), Contacts(), Invoices())


def test_it_has_those_and_no_others() -> None:
    organisation = Organisation(entities=FEW, items=20, contacts=20, invoices=20, bad_records=9)
    assert list(organisation.books) == ["items", "contacts", "invoices"]
    assert len(organisation.planted) == 9
    with pytest.raises(
        UnknownRecordError, match="no entity 'bills'; there are items, contacts, invoices, loc"
    ):
        organisation.book("bills")
    with pytest.raises(SandboxError, match="unknown entities: bills"):
        Organisation(entities=FEW, bills=1)


def test_their_data_is_what_it_is_among_all() -> None:
    few = Organisation(entities=FEW, items=20, contacts=20, invoices=20)
    full = Organisation(items=20, contacts=20, invoices=20)
    assert list(few.truth_lines("invoices")) == list(full.truth_lines("invoices"))


def test_an_organisation_without_a_module_can_be_edited_and_served() -> None:
    organisation = Organisation(entities=FEW, items=20, contacts=20, invoices=20)
    for kind in organisation.book("invoices").entity.edits:
        organisation.edit("invoices", kind=kind)
    with running(organisation, limits=UNLIMITED) as sandbox, sign_in(sandbox) as books:
        assert len(books.get("/invoices").json()["invoices"]) == 20
        assert books.get("/bills").status_code == 404
