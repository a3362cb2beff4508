"""What a loop need not do one iteration after the other is done for all of them at once.

    before  %h: f32[32,128], %dw: f32[128,512] = scan(%w, %h0, %dw0, %xs, %gs) {length=100, …} {
              body(%w, %h, %dw, %x, %g)
                %1 = matmul(%x, %w)                     # reads no carry
                %2 = tanh(add(%1, %h))
                %3 = matmul(transpose(%x), %2)          # no carry reads it, but for a sum
                return %2, add(%dw, %3)
            }
    after   %p = matmul(reshape(%xs), %w)               # one product of 3200 rows
            %h, %hs = scan(%h0, %p, %xs) { … return %2, %2 }
            %dw = add(%dw0, matmul(…%xs…, …%hs…))       # one product, 3200 long

Products (and slow nodes that are the same in all iterations) that depend on no carry move before
the loop. Products that no carry needs, with what follows them, move after it; what they read of
each iteration is stacked. A carry that only sums up such products, or sums of them, leaves the
loop: the sum over time becomes part of the product. The order of additions changes, so this pass
may change bits; it depends on the graph alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from graphc.ir import Graph, Node, Remark, Value
from graphc.ops.build import Builder
from graphc.ops.define import get, make_node
from graphc.ops.scan_gradient import Loop, is_zero, loop_of
from graphc.passes.base import Pass
from graphc.passes.batching import Batch, Batched, has_rule
from graphc.passes.changes import map_regions, over, rewritten, same
from graphc.passes.clone import live_nodes
from graphc.passes.dce import remove_dead
from graphc.passes.kinds import is_light, is_view
from graphc.passes.loop_sums import Sum, find_sums, has_total, total_of


@dataclass(frozen=True)
class SplitScan(Pass):
    """Move what depends on no carry before the loop, and what no carry needs after it.

    most_bytes   a product stays in the loop if its results of all iterations take more
    """

    name: ClassVar[str] = "split_scan"

    most_bytes: int = 1 << 30

    def run(self, graph: Graph) -> Graph:
        result = split_scans(graph, self.most_bytes)
        return graph if result is graph else remove_dead(result)


def split_scans(graph: Graph, most_bytes: int) -> Graph:
    """The graph with its loops split, those in regions first."""
    values: dict[Value, Value] = {}
    nodes: list[Node] = []
    remarks: list[Remark] = []
    for node in graph.nodes:
        current = _with_regions(node, values, remarks, most_bytes)
        is_loop = current.op == "scan" and current.attrs["length"] > 1
        split = _Split(current, graph.producers, most_bytes) if is_loop else None
        if split is None or not split.plan():
            nodes.append(current)
            continue
        found = split.write()
        nodes += split.builder.nodes
        remarks += split.remarks
        values.update(zip(node.results, found, strict=True))
    if same(nodes, graph.nodes):
        return graph
    return rewritten(graph, nodes, values).with_remarks(*remarks)


def _with_regions(
    node: Node, values: Mapping[Value, Value], remarks: list[Remark], most_bytes: int
) -> Node:
    """The node over the new values, the loops in its regions split."""
    split = map_regions(over(node, values), lambda region: split_scans(region, most_bytes))
    for new, old in zip(split.regions, node.regions, strict=True):
        remarks += new.remarks[len(old.remarks) :]
    return split


def _is_heavy(node: Node) -> bool:
    """Worth moving by itself: one product of all iterations instead of many small ones."""
    return get(node.op).contraction


class _Split:
    """One scan: what moves before it, what moves after it, and the loop that is left."""

    def __init__(self, node: Node, outer: Mapping[Value, Node], most_bytes: int) -> None:
        self.node = node
        self.most_bytes = most_bytes
        self.outer = outer
        self.loop: Loop = loop_of(node.attrs)
        (self.body,) = node.regions
        self.builder = Builder()
        self.remarks: list[Remark] = []
        consts, first = self.loop.consts, self.loop.first_slice
        self.consts = self.body.inputs[:consts]
        self.carries = self.body.inputs[consts:first]
        self.slices = self.body.inputs[first:]
        self.carried = self._reached(self.carries)
        self.varying = self._reached((*self.carries, *self.slices))
        length, nodes = self.loop.length, self.body.nodes
        self.batch = Batch(self.builder, length, nodes, self.varying)
        for formal, operand in zip(self.consts, node.operands[:consts], strict=True):
            self.batch.known[formal] = Batched(operand, varies=False)
        for formal, operand in zip(self.slices, node.operands[first:], strict=True):
            self.batch.known[formal] = Batched(operand, varies=True)

    def _reached(self, start: Sequence[Value]) -> set[Value]:
        """The values of the body that depend on any of `start`, these included."""
        reached = set(start)
        for node in self.body.nodes:
            if not reached.isdisjoint(node.operands):
                reached.update(node.results)
        return reached

    # The plan

    def plan(self) -> bool:
        """Whether anything moves.

        Of a loop that keeps little to compute again, only what is the same in all iterations:
        all else would have to be stacked.
        """
        self.sums: list[Sum] = []
        self.late: set[Node] = set()
        self.early: list[Node] = []
        if self.loop.checkpoint != 1:
            self.sums = find_sums(self.body, self.carries, has_total)
            self._find_late()
            self.early = [node for node in self.body.nodes if self._is_early(node)]
        self.ready = [node for node in self.body.nodes if self._is_fixed(node)]
        return bool(self.sums or self.late or self.early or self.ready)

    def _is_early(self, node: Node) -> bool:
        """A product that differs between iterations, but not by what they carry."""
        if not _is_heavy(node) or self.carried & set(node.results) or not self._fits(node):
            return False
        return bool(self.varying & set(node.results)) and self.batch.can(node.results[0])

    def _fits(self, node: Node) -> bool:
        return sum(v.type.nbytes for v in node.results) * self.loop.length <= self.most_bytes

    def _is_fixed(self, node: Node) -> bool:
        """The same in all iterations, and slow enough to be kept."""
        fixed = not self.varying & set(node.results)
        return fixed and not is_light(node) and self._is_made_of_consts(node)

    def _is_made_of_consts(self, node: Node) -> bool:
        return any(value in self.consts for value in live_operands(self.body, node))

    def _find_late(self) -> None:
        """Sums that may leave, and the nodes that move after the loop with them."""
        while True:
            core = self._core()
            self.late = self._late(core)
            stuck = [s for s in self.sums if not all(n in self.late for n in s.roots)]
            if not stuck:
                return
            self.sums = [s for s in self.sums if s not in stuck]

    def _core(self) -> set[Node]:
        """The nodes that the carries which stay need."""
        leaving = {s.carry for s in self.sums}
        kept = [
            value
            for formal, value in zip(self.carries, self.body.outputs, strict=False)
            if formal not in leaving
        ]
        return set(live_nodes(self.body.nodes, kept))

    def _late(self, core: set[Node]) -> set[Node]:
        """Products outside the core and all that follows them; and what is best moved along."""
        roots = {node for s in self.sums for node in s.roots}
        chains = {node for s in self.sums for node in s.chain}
        users = self.body.users
        free: set[Node] = set()
        for node in reversed(self.body.nodes):
            readers = [u for value in node.results for u in users.get(value, ())]
            is_total = node in roots and self._is_only_summed(node, chains)
            if node in core or node in chains or not (is_total or has_rule(node, self.varying)):
                continue
            if all(reader in free or reader in chains for reader in readers):
                free.add(node)
        late: set[Node] = set()
        moved: set[Value] = set()
        for node in self.body.nodes:
            starts = _is_heavy(node) and not self._is_early(node) and self._fits(node)
            starts = starts or node in roots
            if node in free and (starts or not moved.isdisjoint(node.operands)):
                late.add(node)
                moved.update(node.results)
        return late

    def _is_only_summed(self, node: Node, chains: set[Node]) -> bool:
        """Whether nothing reads the node, or a view of it, but the additions of sums."""
        (result,) = node.results
        readers = self.body.users.get(result, ())
        return result not in self.body.outputs and all(
            reader in chains or (is_view(reader) and self._is_only_summed(reader, chains))
            for reader in readers
        )

    # Writing

    def write(self) -> tuple[Value, ...]:
        """The loop that is left, with what stands before and after it; the old results' values."""
        outside = self._move_early()
        stays = [formal not in {s.carry for s in self.sums} for formal in self.carries]
        stacked = self._stacked(outside)
        results = self._write_loop(outside, stays, stacked)
        for value, stack in zip(stacked, results[sum(stays) :], strict=True):
            self.batch.known[value] = Batched(stack, varies=True)
        return self._results(results)

    def _move_early(self) -> dict[Value, Batched]:
        """Values of the body that come from before the loop."""
        found = {}
        for node in (*self.ready, *self.early):
            for value in node.results:
                found[value] = self.batch.of(value)
        for node in self.early:
            self._remark(node, f"moved before the loop: its {self.loop.length} are one product")
        for node in self.ready:
            self._remark(node, "moved before the loop: it is the same in all iterations")
        return found

    def _remark(self, node: Node, text: str) -> None:
        self.remarks.append(Remark("split_scan", f"{node.op} {text}", node.source))

    def _stacked(self, outside: Mapping[Value, Batched]) -> list[Value]:
        """What the loop stacks: ys, and what the nodes after it read of each iteration."""
        made = {value for node in self.late for value in node.results}
        ys = self.body.outputs[len(self.carries) :]
        found = dict.fromkeys(v for v in ys if v not in made and v not in outside)
        for node in self.body.nodes:
            if node in self.late:
                for value in node.operands:
                    self._reach(value, made, found)
        return list(found)

    def _reach(self, value: Value, made: set[Value], found: dict[Value, None]) -> None:
        """Enter a value, or what it is a view of, or nothing where it is known outside."""
        if value in made or value in self.batch.known:
            return
        node = self.body.producers.get(value)
        if node is not None and value not in self.carried and self._follows(node):
            return
        if node is not None and is_view(node) and has_rule(node, self.varying):
            for operand in node.operands:
                self._reach(operand, made, found)
            return
        found[value] = None

    def _follows(self, node: Node) -> bool:
        return is_light(node) and self.batch.can(node.results[0])

    def _write_loop(
        self, outside: Mapping[Value, Batched], stays: Sequence[bool], stacked: Sequence[Value]
    ) -> tuple[Value, ...]:
        """The scan of what is left: (carries that stay, stacks)."""
        consts, first = self.loop.consts, self.loop.first_slice
        wanted = (*_select(self.body.outputs, stays), *stacked)
        fixed = {v: item.value for v, item in outside.items() if not item.varies}
        moving = {v: item.value for v, item in outside.items() if item.varies}
        carries = _select(self.carries, stays)
        nodes = [n for n in self.body.nodes if outside.keys().isdisjoint(n.results)]
        formal = (*self.consts, *fixed, *carries, *self.slices, *moving)
        region = Graph(self.body.name, formal, live_nodes(nodes, wanted), wanted)
        operands = (
            *self.node.operands[:consts],
            *fixed.values(),
            *_select(self.node.operands[consts:first], stays),
            *self.node.operands[first:],
            *moving.values(),
        )
        counts = {"consts": consts + len(fixed), "carries": len(carries)}
        attrs = {**self.node.attrs, **counts}
        node = make_node("scan", operands, attrs, (region,), self.node.source)
        self.builder.nodes.append(node)
        return node.results

    def _results(self, results: Sequence[Value]) -> tuple[Value, ...]:
        """The values that take the places of the old scan's results."""
        sums = {s.carry: s for s in self.sums}
        remaining = iter(results)
        starts = self.node.operands[self.loop.consts : self.loop.first_slice]
        found = [
            self._sum(sums[formal], start) if formal in sums else next(remaining)
            for formal, start in zip(self.carries, starts, strict=True)
        ]
        found += [self.batch.stack(value) for value in self.body.outputs[len(self.carries) :]]
        self._remark_products()
        return tuple(found)

    def _remark_products(self) -> None:
        for node in self.body.nodes:
            if node in self.late and _is_heavy(node):
                self._remark(node, f"moved after the loop: its {self.loop.length} are one product")
            elif _is_heavy(node) and node not in self.early:
                reason = "a carry needs it" if self._fits(node) else "its results take too much"
                self._remark(node, f"stays in the loop: {reason}")

    def _sum(self, s: Sum, start: Value) -> Value:
        """The start, left out where it is zero, and the terms' totals."""
        totals = [total_of(self.batch, term) for term in s.terms]
        total = totals.pop(0) if is_zero(start, self.outer) else start
        self.builder.source = s.chain[-1].source
        for term in totals:
            total = self.builder.add(total, term)
        return total


def _select(values: Sequence[Value], keep: Sequence[bool]) -> tuple[Value, ...]:
    return tuple(value for value, kept in zip(values, keep, strict=False) if kept)


def live_operands(body: Graph, node: Node) -> set[Value]:
    """Everything of the body that a node depends on."""
    nodes = live_nodes(body.nodes, node.results)
    return {value for found in nodes for value in found.operands}
