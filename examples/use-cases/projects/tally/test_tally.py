import unittest
from pathlib import Path

from tally import tally

CASES = Path(__file__).parent / "cases"


class Tally(unittest.TestCase):
    def test_each_list_has_its_sum(self):
        for case in CASES.glob("*.txt"):
            with self.subTest(case.name):
                self.assertEqual(tally(case), int(case.with_suffix(".sum").read_text()))

    def test_there_are_lists(self):
        self.assertEqual(len(list(CASES.glob("*.txt"))), 2)
