"""The ledger of records that wait for their window."""

from __future__ import annotations

from opendt.windows.ledger import RECORD_BYTES, Ledger


def test_waiting_records_are_counted_with_what_they_take_in_memory():
    ledger = Ledger([("dc.power", 0)])
    for offset in range(10):
        ledger.hold(("dc.power", 0), offset, 3_600_000, None, (-1, 0), 100)
    ledger.hold(("dc.power", 0), 10, 7_200_000, None, (-1, 0), 900, until=20)
    assert ledger.waiting_bytes == 10 * 100 + 900 + 20 * RECORD_BYTES
    ledger.release(3_600_000)
    assert ledger.waiting_bytes == 900 + 10 * RECORD_BYTES
    ledger.release(7_200_000)
    assert ledger.waiting_bytes == 0
