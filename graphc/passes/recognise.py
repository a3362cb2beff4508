"""Composites written in primitives become one node each, before they are differentiated.

    before  %2: f32[8] = max(%x) {axes=(1,)}                 # net.py:7
            …
            %9: f32[8,10] = div(%6, %8)                      # net.py:7
    after   %9: f32[8,10] = softmax(%x) {axis=1}             # net.py:7

A composite has a stable formula, a derivative of its own that needs just its results, and later a
kernel. It changes the order of operations, hence last bits: only this pass and split_scan may.
The rules stand in softmax_rules.py, normalisation_rules.py, cell_rules.py, attention_rules.py and
conv_block_rules.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph, Remark
from graphc.passes.attention_rules import find_attention
from graphc.passes.base import Pass
from graphc.passes.cell_rules import find_gru, find_lstm_memory, find_lstm_output
from graphc.passes.conv_block_rules import find_conv_blocks
from graphc.passes.dce import remove_dead
from graphc.passes.finding import finding_rule
from graphc.passes.normalisation_rules import find_parameter, find_scaled
from graphc.passes.rewrite import Rule, Rules, rewrite
from graphc.passes.softmax_rules import (
    find_class_sum,
    find_gathered_class,
    find_log_softmax,
    find_logsumexp,
    find_shifted_logsumexp,
    find_softmax,
)

# The operator of a composite's last node, and what finds it; the first that does wins.
SOFTMAX = (
    ("div", find_softmax),
    ("log", find_logsumexp),
    ("add", find_shifted_logsumexp),
    ("sub", find_log_softmax),
)
CROSS_ENTROPY = (
    ("sum", find_class_sum),
    ("gather_elements", find_gathered_class),
)
NORMALISATIONS = (
    ("mul", find_scaled),
    ("div", find_scaled),
    ("mul", find_parameter),
    ("add", find_parameter),
)
CELLS = (
    ("add", find_lstm_memory),
    ("mul", find_lstm_output),  # after the memory, which it reads
    ("add", find_gru),
)


@dataclass(frozen=True)
class Recognise(Pass):
    """Find composites in primitives, families by option."""

    name: ClassVar[str] = "recognise"
    softmax: bool = True
    cross_entropy: bool = True
    normalisations: bool = True
    cells: bool = True
    conv_pool: bool = True
    attention: bool = True

    def run(self, graph: Graph) -> Graph:
        remarks: list[Remark] = []
        if self.conv_pool:
            graph, remarks = find_conv_blocks(graph)
        graph = remove_dead(rewrite(graph, self._rules(remarks)))
        if self.attention:  # after softmax
            graph, more = find_attention(graph)
            graph, remarks = remove_dead(graph), [*remarks, *more]
        return graph.with_remarks(*remarks) if remarks else graph

    def _rules(self, remarks: list[Remark]) -> Rules:
        families = (
            (self.softmax, SOFTMAX),
            (self.cross_entropy, CROSS_ENTROPY),
            (self.normalisations, NORMALISATIONS),
            (self.cells, CELLS),
        )
        rules: dict[str, list[Rule]] = {}
        for wanted, family in families:
            for op, find in family if wanted else ():
                rules.setdefault(op, []).append(finding_rule(find, remarks))
        return rules
