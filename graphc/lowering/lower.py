"""Graph -> Schedule: a launch for every group or node that moves or computes, in graph order.

    reshape, transpose    views where the layout allows it: another place on the same storage
    broadcast, slice      read through by their consumers
    group, other nodes    one launch
    scan, cond            Repeat, Branch around the launches of their regions

Every tensor gets a place: a storage and an order of dimensions. Contractions say which order they
want their operands in (`contraction`); a state tensor takes the order that its first contraction
wants, any other operand in the wrong order is laid out anew by a launch of its own.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from graphc.dtypes import DType
from graphc.ir import Graph, Node, TensorType, Value
from graphc.loops import Argument, Kernel, Launch, Schedule, Step, Storage
from graphc.lowering.body import scalar_constant
from graphc.lowering.contraction import analyse
from graphc.lowering.control import lower_cond, lower_scan
from graphc.lowering.costs import flops_of
from graphc.lowering.domains import group_domain, result_order
from graphc.lowering.kernels import Lowered, lower_nest, lower_values
from graphc.lowering.layouts import state_orders
from graphc.lowering.places import Place, reshaped, row_major, same_layout, transposed
from graphc.lowering.results import is_read, readable_order, straight_outputs
from graphc.lowering.shown import order_of, shown_strides
from graphc.lowering.sweeps import lies_in_order, lower_sweep, sums_in, sweep_of
from graphc.lowering.updates import updates_in_place
from graphc.ops import get, make_node

Orders = Mapping[str, tuple[int, ...]]


def lower(graph: Graph, orders: Orders | None = None) -> Schedule:
    """The launches of a graph, each with its naive kernel.

    `orders` fixes how state tensors lie in memory; those it does not name are chosen, and are the
    `order` of the state's storages in the result.
    """
    return Lowering(graph, state_orders(graph, orders or {})).run()


@dataclass
class Lowering:
    graph: Graph
    orders: Orders
    places: dict[Value, Place] = field(default_factory=dict)
    producers: dict[Value, Node] = field(default_factory=dict)
    storages: dict[str, Storage] = field(default_factory=dict)
    kernels: dict[str, Kernel] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)
    relaid: dict[tuple[Place, tuple[int, ...]], Place] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.current = self.graph  # or the region that is being lowered

    def run(self) -> Schedule:
        graph = self.graph
        inputs = [self._input(value) for value in graph.inputs]
        for value in graph.state:
            self._state(value)
        targets = {v: self.places[old] for v, old in updates_in_place(graph).items()}
        straight = {v: self._output_place(n, v) for v, n in straight_outputs(graph).items()}
        self.sweep(graph, {**straight, **targets})
        # Outputs first: one may be a view of the old state.
        outputs = [self._output(n, value) for n, value in enumerate(graph.outputs)]
        self._copy_updates(targets)
        return Schedule(
            graph.name,
            tuple(self.storages.values()),
            self.kernels,
            tuple(self.steps),
            tuple(inputs),
            tuple(outputs),
            self.constants,
        )

    # Storages

    def _input(self, value: Value) -> str:
        name = f"input.{value.name}"
        self._place(value, Storage(name, value.shape, value.dtype, "input"))
        return name

    def _state(self, value: Value) -> None:
        order = self.orders.get(value.name, row_major(value.shape))
        self._place(value, Storage(value.name, value.shape, value.dtype, "state", order))

    def _place(self, value: Value, storage: Storage) -> Place:
        self.storages[storage.name] = storage
        order = storage.order or row_major(storage.shape)
        self.places[value] = Place(storage.name, storage.shape, storage.dtype, order)
        return self.places[value]

    def temporary(
        self,
        shape: tuple[int, ...],
        dtype: DType,
        order: tuple[int, ...],
        source: tuple[str, ...],
    ) -> Place:
        name = f"t{len(self.storages)}"
        self.storages[name] = Storage(name, shape, dtype, "temporary", order, source)
        return Place(name, shape, dtype, order)

    # Nodes

    def sweep(self, graph: Graph, targets: Mapping[Value, Place]) -> None:
        around, self.current = self.current, graph
        for node in graph.nodes:
            # Regions may share values: a place from another region is of no use here.
            for value in node.results:
                self.places.pop(value, None)
            if not self._is_view(node):
                self._launch_node(node, targets)
        self.current = around

    def _is_view(self, node: Node) -> bool:
        """Enter nodes that need no launch of their own; consumers read through them."""
        if node.op == "constant":
            return self._constant(node)
        self.producers.update(dict.fromkeys(node.results, node))
        if node.op == "iota":
            return True
        if not get(node.op).view:
            return False
        place = self.places.get(node.operands[0])
        if place is not None and node.op == "transpose":
            self.places[node.result] = transposed(place, node.attrs["axes"])
        if node.op == "reshape":
            view = None if place is None else reshaped(place, node.attrs["shape"])
            if view is None:
                return place is None and self._shows_memory(node.result) is not None
            self.places[node.result] = view
        return True

    def _constant(self, node: Node) -> bool:
        self.producers[node.result] = node
        if node.result.type.size > 1:
            digest = node.attrs["value"].digest
            name = f"constant.{digest}"
            self.constants[name] = digest
            storage = Storage(name, node.result.shape, node.result.dtype, "constant")
            self._place(node.result, storage)
        return True

    def _launch_node(self, node: Node, targets: Mapping[Value, Place]) -> None:
        match node.op:
            case "scan":
                lower_scan(self, node)
            case "cond":
                lower_cond(self, node)
            case "group":
                self._group(node, targets)
            case _:
                self._single(node, targets)

    def _single(self, node: Node, targets: Mapping[Value, Place]) -> None:
        record = get(node.op)
        places = ChainMap(self._relaid_operands(node), self.places)
        order = result_order([node], node.results[0], places, self.producers)
        order = self._shown_order(node) or order
        order = readable_order(self.current, [node], node.results[0], order)
        by_nest = record.nest is not None and (record.lower is None or self._is_over(node, targets))
        wanted = [v for v in node.results if by_nest or is_read(self.current, v)]
        results = [(v, self._result_place(v, order, node, targets)) for v in wanted or node.results]
        producers = self.producers
        if by_nest:
            for value in node.operands:
                if not self._is_literal(value) and self._shows_memory(value) is None:
                    self.materialise(value)
            written = [place for _, place in results]
            lowered = lower_nest(node.op, node, written, self.places, producers)
            self._launch(lowered, node.op, node.source, "")
        elif sweep_of(node) and lies_in_order({node.result: node}, self._known(node, results)):
            sums = {node.result: node}
            lowered = lower_sweep(node.op, results, sums, places, producers)
            self._launch(lowered, node.op, node.source, "")
        else:
            lowered = lower_values(node.op, results, places, producers, node.results[0].shape)
            self._launch(lowered, node.op, node.source, "")
        self.places.update(results)

    def _is_over(self, node: Node, targets: Mapping[Value, Place]) -> bool:
        """Whether the results are stored over the operands that the operator's record names."""
        found = [
            (self.places.get(node.operands[operand]), targets.get(node.results[result]))
            for operand, result in get(node.op).overwrites
        ]
        return all(target is not None and place == target for place, target in found)

    def _group(self, node: Node, targets: Mapping[Value, Place]) -> None:
        (region,) = node.regions
        inside = dict(zip(region.inputs, node.operands, strict=True))
        relaid: dict[Value, Place] = {}
        for inner in region.nodes:
            relaid.update(self._relaid_operands(inner, inside))
        places = ChainMap(relaid, self.places)
        producers = ChainMap[Value, Node]({}, self.producers)
        for formal, actual in inside.items():
            if actual in places:
                places[formal] = places[actual]
            else:
                producers[formal] = self._through(formal, actual)
        producers.update({v: n for n in region.nodes for v in n.results})
        results = []
        for inner_value, value in zip(region.outputs, node.results, strict=True):
            order = result_order(region.nodes, inner_value, places, producers)
            order = readable_order(self.current, region.nodes, value, order)
            place = self._result_place(value, order, node, targets)
            results.append((inner_value, place))
            self.places[value] = place
        name, reason = node.attrs["name"], node.attrs["reason"]
        kernels = self._kernels_of(name, region, results, places, producers)
        if len(kernels) > 1:
            reason = "what it reads lies in another order than its columns: they are summed apart"
        for lowered in kernels:
            self._launch(lowered, name, node.source, reason)

    def _kernels_of(
        self,
        name: str,
        region: Graph,
        results: Sequence[tuple[Value, Place]],
        places: Mapping[Value, Place],
        producers: Mapping[Value, Node],
    ) -> list[Lowered]:
        """A group's kernel; two where columns are summed of what lies in another order."""
        sums = sums_in(region)
        near = [places[v] for v in region.inputs if v in places]
        if sums and lies_in_order(sums, [*near, *(place for _, place in results)]):
            return [lower_sweep(name, results, sums, places, producers)]
        kernels = []
        for summed in (False, True):
            part = [item for item in results if (item[0] in sums) == summed]
            if part:
                domain = group_domain(replace(region, outputs=tuple(value for value, _ in part)))
                kernels.append(lower_values(name, part, places, producers, domain))
        return kernels

    def _known(self, node: Node, results: Iterable[tuple[Value, Place]]) -> list[Place]:
        """The places of what a node reads and stores."""
        read = [self.places[value] for value in node.operands if value in self.places]
        return [*read, *(place for _, place in results)]

    def _shows_memory(self, value: Value) -> tuple[int, ...] | None:
        return shown_strides(value, self.places, self.producers)

    def _shown_order(self, node: Node) -> tuple[int, ...] | None:
        """The order of the first operand of a nest, where that is a part of a tensor."""
        value = node.operands[0] if node.operands else None
        if get(node.op).nest is None or value is None or value in self.places:
            return None
        strides = self._shows_memory(value)
        if strides is None or value.shape != node.results[0].shape:
            return None
        return order_of(value.shape, strides)

    def _is_literal(self, value: Value) -> bool:
        """Whether all elements are one constant, which needs no memory."""
        node = self.producers.get(value)
        if node is None or node.op != "broadcast":
            return False
        inner = self.producers.get(node.operands[0])
        return inner is not None and scalar_constant(inner) is not None

    def _through(self, formal: Value, actual: Value) -> Node:
        """A stand-in that reads a group's operand which no memory holds."""
        node = make_node("reshape", [actual], {"shape": actual.shape})
        return replace(node, results=(formal,))

    def _result_place(
        self, value: Value, order: tuple[int, ...], node: Node, targets: Mapping[Value, Place]
    ) -> Place:
        target = targets.get(value)
        if target is not None and self.storages[target.storage].purpose == "output":
            if len(order) == len(value.shape) and same_layout(value.shape, order, target.order):
                return target
        elif target is not None:
            # Copies of the old value in other layouts are not copies of the new one.
            stale = [key for key in self.relaid if key[0].storage == target.storage]
            for key in stale:
                del self.relaid[key]
            return target
        if len(order) != len(value.shape):
            order = row_major(value.shape)
        return self.temporary(value.shape, value.dtype, order, node.source)

    def _launch(self, lowered: Lowered, name: str, source: tuple[str, ...], reason: str) -> None:
        stored = [buffer for buffer in lowered.kernel.buffers if buffer.access == "out"]
        if stored and all(0 in buffer.shape for buffer in stored):
            return
        key = f"{name}.{lowered.kernel.structural_hash[:12]}"
        self.kernels.setdefault(key, replace(lowered.kernel, name=key))
        arguments = tuple(Argument(place.storage, place.offset) for place in lowered.places)
        ops = tuple(node.op for node in lowered.nodes if not get(node.op).view)
        moved = lowered.kernel.moved_bytes
        flops = sum(map(flops_of, lowered.nodes))
        self.steps.append(Launch(name, key, arguments, ops, source, reason, flops, moved))

    # Layouts

    def _relaid_operands(
        self, node: Node, inside: Mapping[Value, Value] | None = None
    ) -> dict[Value, Place]:
        """A contraction's second operand laid out with its columns last, if it is not.

        For this node alone: other readers keep the order that the value has.
        """
        contraction, inside = analyse(node), inside or {}
        if contraction is None:
            return {}
        first, operand = (node.operands[side[0]] for side in (contraction.a, contraction.b))
        a = self.places.get(inside.get(first, first))
        wanted = contraction.order_of_b(None if a is None else a.order)
        if wanted is None:
            return {}
        actual = inside.get(operand, operand)
        place = self.places.get(actual)
        if place is None:
            if actual not in self.producers or (inside and operand not in inside):
                return {}
            place = self.materialise(actual)
        if place.order and place.order[-1] != wanted[-1] and place.shape[wanted[-1]] > 1:
            return {actual: self.relay(place, wanted, node.source)}
        return {}

    def relay(self, place: Place, order: tuple[int, ...], source: tuple[str, ...]) -> Place:
        """The same elements in another order, by a launch; made once."""
        key = (place, order)
        if key not in self.relaid:
            made = self.temporary(place.shape, place.dtype, order, source)
            self.copy(place, made, "layout", source)
            self.relaid[key] = made
        return self.relaid[key]

    def copy(self, start: Place, end: Place, name: str, source: tuple[str, ...]) -> None:
        node = make_node("reshape", [_stand_in(start)], {"shape": start.shape})
        places = {node.operands[0]: start}
        lowered = lower_values(name, [(node.result, end)], places, {node.result: node}, start.shape)
        self._launch(lowered, name, source, "")

    def materialise(self, value: Value) -> Place:
        """Give a value that is read through (a broadcast, a literal) memory of its own."""
        if value not in self.places:
            node = self.producers[value]
            order = result_order([node], value, self.places, self.producers)
            if len(order) != len(value.shape):
                order = row_major(value.shape)
            place = self.temporary(value.shape, value.dtype, order, node.source)
            results = [(value, place)]
            lowered = lower_values(node.op, results, self.places, self.producers, value.shape)
            self._launch(lowered, node.op, node.source, "")
            self.places[value] = place
        return self.places[value]

    # State and outputs

    def _copy_updates(self, targets: Mapping[Value, Place]) -> None:
        """Updates that could not be stored in place: all are read before any is written."""
        state = {value.name: value for value in self.graph.state}
        pending = []
        for name, value in self.graph.updates:
            if value in targets or value is state[name]:
                continue
            end = self.places[state[name]]
            start = self.materialise(value)
            if self.storages[start.storage].purpose == "state":
                safe = self.temporary(end.shape, end.dtype, end.order, ())
                self.copy(start, safe, "copy", ())
                start = safe
            pending.append((start, end))
        for start, end in pending:
            self.copy(start, end, "copy", ())

    def _output(self, number: int, value: Value) -> str:
        place = self._output_place(number, value)
        start = self.materialise(value)
        if start != place:
            self.copy(start, place, "output", ())
        return place.storage

    def _output_place(self, number: int, value: Value) -> Place:
        name = f"output.{number}"
        self.storages[name] = Storage(name, self.graph.outputs[number].shape, value.dtype, "output")
        return Place(name, value.shape, value.dtype, row_major(value.shape))


def _stand_in(place: Place) -> Value:
    return Value(TensorType(place.shape, place.dtype))
