"""What the account has behind its token: labels, feature sets, numbers, batches, and the count of calls."""

from __future__ import annotations

from collections import Counter

from .api_rules import ApiRules
from .batches import BatchBook
from .feature_sets import FeatureSetBook
from .labels import LabelBook
from .numbers import NumberBook
from .outcomes import Outcomes


class Account:
    """The state that the endpoints share."""

    def __init__(self, rules: ApiRules, account_id: str) -> None:
        self.labels = LabelBook()
        self.feature_sets = FeatureSetBook(account_id)
        self.numbers = NumberBook(rules)
        self.batches = BatchBook(rules.keep_batches)
        self.outcomes = Outcomes()
        self.accepted: Counter[int] = Counter()
