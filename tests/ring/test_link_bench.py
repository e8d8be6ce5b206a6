"""`hil bench link` counts what the protocol needs: no fewer accesses than the floor, and not many more."""

import json

from hil import cli


def test_bytes_cost_the_floor_of_the_protocol_and_little_more(tmp_path, capsys):
    assert cli.main(["bench", "link", "--json", "--logs", str(tmp_path)]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    for side, floor in figures["floor"].items():
        counts = figures["per_byte"][side]
        assert floor["writes"] <= counts["writes"] < floor["writes"] + 0.1
        assert floor["reads"] <= counts["reads"] < floor["reads"] + 3
        assert 0 < counts["instructions"] < 100
    assert figures["clock_kb_s"] > 1000
