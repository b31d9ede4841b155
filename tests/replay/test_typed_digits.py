"""Every digit of contents as they really look: another one is a divergence, except where a rule says why it is not.

What may differ stands between « and »; every other digit is changed in turn.
"""

from __future__ import annotations

import re

import pytest

from reprokit.replay.typed import kinds
from reprokit.replay.typed.outcome import How

UUID, SHOWN = "2f1b7c0e-58a4-4b5e-9d8e-0123456789ab", "9a0b7c0e-58a4-4b5e-9d8e-ba9876543210"
CONTENTS = [
    ("text", "epoch 3/10 - loss: 0.4312 - acc: 88.12% - 12 GB - took 35 s\n"),
    ("text", "Wall time: «3.2» ms\nresult 41.5 in 3.2 ms\n"),
    ("text", "CPU times: user «3.1» ms, sys: «0» ns, total: «3.1» ms\nWall time: «3» ms\n'3.1 ms'"),
    ("text", "«12.3» µs ± «41» ns per loop (mean ± std. dev. of «7» runs, «100,000» loops each)\n12.3\n"),
    ("text", "100%|██████████| 10/10 [«00:01»<«00:00»,  «8.10»it/s, loss=0.31]\nscore 0.5\n"),
    ("text", "10/10 ━━━━ «0»s «12»ms/step - loss: 0.5 - val_loss: 3.25\n"),
    ("text", "[Parallel(n_jobs=1)]: Done 5 out of 5 | elapsed:    «0.1»s\n"),
    ("text", "<Model at 0x«7»f«10»a«2»b«3»c«4»d«0» with k=3 and 0x12>\nid: 140«123456789012» n=5\n"),
    ("text", "/tmp/tmp«12345678»/fold_12/out 77 /data/tmp12345678/out\n"),
    ("text", "   a    b\n0  1.5  22\n1  2.5  33\nName: a, dtype: float64\n"),
    ("text", "array([1.5, 2.25e-10, 3.125])\n2026-05-03 14:02:11 1.26.4 192.168.0.1\n"),
    ("text", "Cell In[«3»], line 1: 17\n"),
    ("html", f'<div id="«{UUID}»">77.5</div><p data-id="1234" style="width:12px">{SHOWN}</p>'),
    ("html", '<table border="«1»" class="dataframe"><tr><td>1.25</td><td colspan="2">12</td></tr></table>'),
    ("svg", '<svg><dc:date>«2026-05-03»</dc:date><path id="m«0123456789»" d="M 1.5 22"/><g id="line2d_14"/></svg>'),
    ("json", '{"a": [1.25, 2], "id": "p1002", "uid": "77", "name": "data-12", "layout": {}, "datasets": {}}'),
    ("csv", "id,price\n0012,1.50\n0013,22\n"),
    ("tsv", "id\tprice\n1\t1.50\n"),
]


def digits(marked: str) -> tuple[str, list[int]]:
    """Return the content without its marks, and where the digits are that must not differ."""
    content, places, free = "", [], False
    for character in marked:
        if character in "«»":
            free = character == "«"
            continue
        if character.isdigit() and not free:
            places.append(len(content))
        content += character
    return content, places


@pytest.mark.parametrize(("kind", "marked"), CONTENTS)
def test_every_digit_counts(kind: str, marked: str) -> None:
    content, places = digits(marked)
    assert places
    for at in places:
        changed = content[:at] + str((int(content[at]) + 5) % 10) + content[at + 1 :]
        outcome = kinds.compare(content.encode(), changed.encode(), kind, How())
        assert outcome.rules is None, f"{outcome.rules}: {changed!r}"


@pytest.mark.parametrize(("kind", "marked"), [one for one in CONTENTS if "«" in one[1]])
def test_and_those_that_may_differ_do_not(kind: str, marked: str) -> None:
    def other(match: re.Match[str]) -> str:
        return re.sub(r"\d", lambda digit: str((int(digit[0]) + 1) % 9 + 1), match[0])

    content, _ = digits(marked)
    changed, _ = digits(re.sub("«[^»]*»", other, marked))
    assert changed != content
    assert kinds.compare(content.encode(), changed.encode(), kind, How()).rules
