#!/usr/bin/python3
"""Prints "PASSED FAILED SKIPPED" of a JUnit file written by ctest or pytest; on stderr the names of what failed.

ctest knows executables only: of a cmocka executable the tests inside are counted, from what it printed. One that failed without
saying which test (a crash, a leak, a time limit) counts as one failure more."""

import re
import sys
import xml.etree.ElementTree as ET

passed = failed = skipped = 0
for case in ET.parse(sys.argv[1]).getroot().iter("testcase"):
    bad = case.find("failure") is not None or case.find("error") is not None or case.get("status") == "fail"
    output = case.findtext("system-out") or ""
    if bad:
        inside = re.findall(r"^\[ +FAILED +\] ([A-Za-z]\w*)$", output, re.M)
        print("FAILED", case.get("classname").replace(".", "/"), *(dict.fromkeys(inside) or [case.get("name")]), file=sys.stderr)
    if not re.search(r"\[=+\] (?:\S+: )?Running \d+ test", output):
        failed += bad
        skip = not bad and (case.find("skipped") is not None or case.get("status") in ("notrun", "disabled"))
        skipped += skip
        passed += not bad and not skip
        continue
    good, wrong, left = (
        sum(int(n) for n in re.findall(r"\[ +%s +\] (?:\S+: )?(\d+) test" % word, output))
        for word in ("PASSED", "FAILED", "SKIPPED")
    )
    passed += good
    failed += wrong or bad
    skipped += left
print(passed, failed, skipped)
