"""What a fused-against-unfused run found, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from graphc.errors import AgreementError
from graphc.inspect.fusion import ALL, Difference, Fusions, Variant
from graphc.planning.text import format_bytes

DIFFERENCE_HEAD = ("largest", "off by at most", "relative", "tensor")
FUSION_HEAD = ("on ms", "off ms", "speed-up", "not moved", "memory saved", "launches", "fusion")
FUSION_NUMBERS = 6
# What a fusion is, for those whose name does not say it.
ABOUT: Mapping[str, str] = {
    ALL: "all fusions together",
    "fuse": "groups of nodes that run as one launch",
    "fuse products": "matrix products and convolutions with their epilogues",
    "fuse poolings": "poolings and their gradients with their epilogues",
    "fuse reductions": "reductions with what feeds them and what reads them, row by row or not",
    "fuse updates": "a launch for a parameter's update and those of its moments",
    "fuse elementwise": "chains of all else",
    "recognise.softmax": "softmax, log-softmax and logsumexp as one operator",
    "recognise.cross_entropy": "softmax cross entropy as one operator",
    "recognise.normalisations": "layer, batch, group and RMS norm as one operator",
    "recognise.conv_pool": "convolution, bias, activation and pooling in one nest",
    "recognise.attention": "softmax(Q K^T) V in one nest, without the scores in memory",
    "attention": "softmax(Q K^T) V in one nest, without the scores in memory",
    "lstm_cell": "the gates of an LSTM step and its states in one nest",
    "gru_cell": "the gates of a GRU step and its state in one nest",
}


def difference_rows(differences: Sequence[Difference], limit: int | None) -> list[tuple[str, ...]]:
    """Rows of DIFFERENCE_HEAD: the first tensor (the loss), then those that are off the most."""
    rest = sorted(differences[1:], key=lambda difference: -difference.relative)
    return [
        (f"{d.largest:.3g}", f"{d.off:.1e}", f"{d.relative:.1e}", d.name)
        for d in [*differences[:1], *rest][:limit]
    ]


def verdict(differences: Sequence[Difference]) -> str:
    """One line: that all agree. Raises AgreementError that names the tensors that do not."""
    wrong = [d for d in differences if not d.agrees]
    if wrong:
        told = "; ".join(
            f"{d.name} is off by {d.off:.3g}, allowed {d.allowed:.3g}" for d in wrong[:5]
        )
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise AgreementError(f"fused and unfused differ: {told}{more}")
    worst = max(differences, key=lambda d: d.relative, default=None)
    if worst is None or worst.off == 0:
        return f"fused and unfused agree bit for bit in all {len(differences)} tensors"
    far = f"; the furthest, {worst.name}, by {worst.relative:.1e}"
    return f"fused and unfused agree in all {len(differences)} tensors{far}"


def fusion_rows(fusions: Fusions) -> list[tuple[str, ...]]:
    """Rows of FUSION_HEAD: all fusions, then each by itself, the best first."""
    first, *rest = fusions.variants
    ranked = sorted(rest, key=lambda variant: -variant.times.median)
    return [_fusion_row(fusions.fused, variant) for variant in (first, *ranked)]


def _fusion_row(fused: Variant, without: Variant) -> tuple[str, ...]:
    about = ABOUT.get(without.name, "")
    return (
        f"{1e3 * fused.times.median:.3f}",
        f"{1e3 * without.times.median:.3f}",
        f"{without.times.median / fused.times.median:.2f}",
        _signed_bytes(without.traffic_bytes - fused.traffic_bytes),
        _signed_bytes(without.peak_bytes - fused.peak_bytes),
        f"{without.launches} -> {fused.launches}",
        f"{without.name}: {about}" if about else without.name,
    )


def _signed_bytes(count: int) -> str:
    return f"-{format_bytes(-count)}" if count < 0 else format_bytes(count)


def fusion_fields(differences: Sequence[Difference], fusions: Fusions) -> dict[str, Any]:
    """All of it for JSON; seconds are medians."""
    fused = fusions.fused
    return {
        "name": fusions.name,
        "differences": [
            {**asdict(d), "relative": d.relative, "agrees": d.agrees} for d in differences
        ],
        "fused": _variant_fields(fused),
        "without": [
            {
                **_variant_fields(variant),
                "speedup": variant.times.median / fused.times.median,
                "bytes_not_moved": variant.traffic_bytes - fused.traffic_bytes,
                "memory_saved_bytes": variant.peak_bytes - fused.peak_bytes,
            }
            for variant in fusions.variants
        ],
        "unused": list(fusions.unused),
    }


def _variant_fields(variant: Variant) -> dict[str, Any]:
    return {
        "fusion": variant.name,
        "median_seconds": variant.times.median,
        "least_seconds": variant.times.least,
        "rounds": len(variant.times.seconds),
        "launches": variant.launches,
        "traffic_bytes": variant.traffic_bytes,
        "peak_bytes": variant.peak_bytes,
        "loss": variant.loss,
    }
