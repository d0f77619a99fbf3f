"""Statistics in Prometheus' text format."""

from collections.abc import Iterator, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_PREFIX = "dspex_executor"
_CACHE_GAUGES = frozenset({"entries", "bytes", "hit_rate"})
_TRACKING_GAUGES = frozenset({"waiting_bytes"})


def to_prometheus(stats: Mapping[str, Any], gauges: Mapping[str, float] | None = None) -> str:
    """Return what `DSPyPipelineExecutor.get_execution_stats` gave.

    Args:
        gauges: further values by name, shown as ``dspex_<name>``.
    """
    registry = CollectorRegistry()
    registry.register(_Families(stats, gauges or {}))
    return generate_latest(registry).decode()


class _Families(Collector):
    def __init__(self, stats: Mapping[str, Any], gauges: Mapping[str, float]) -> None:
        self._stats = stats
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        yield _labelled("executions", "Executions by outcome.", ("outcome",), _outcomes(stats))
        yield _labelled("program_executions", "Executions by program.", ("program", "outcome"), _programs(stats))
        kinds = {(kind,): count for kind, count in stats["errors"].items()}
        yield _labelled("errors", "Failed executions by kind of error.", ("kind",), kinds)
        yield _seconds(stats)
        yield CounterMetricFamily(f"{_PREFIX}_retries", "Further attempts.", stats["retries"])
        yield CounterMetricFamily(f"{_PREFIX}_fallbacks", "Executions that a fallback answered.", stats["fallbacks"])
        yield GaugeMetricFamily(f"{_PREFIX}_abandoned", "Executions given up that still run.", stats["abandoned"])
        yield from _numbers("cache", stats["cache"], _CACHE_GAUGES)
        yield from _numbers("tracking", stats["tracking"], _TRACKING_GAUGES)
        yield GaugeMetricFamily("dspex_memory_bytes", "Resident memory.", stats["memory_bytes"])
        yield CounterMetricFamily("dspex_cpu_seconds", "Processor time, user and system.", stats["cpu_seconds"])
        for name, value in self._gauges.items():
            yield GaugeMetricFamily(f"dspex_{name}", name.replace("_", " "), value)


def _labelled(name: str, text: str, labels: tuple[str, ...], values: Mapping[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(f"{_PREFIX}_{name}", text, labels=labels)
    for found, count in values.items():
        family.add_metric(found, count)
    return family


def _outcomes(stats: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    return {("success",): stats["successful_executions"], ("failure",): stats["failed_executions"]}


def _programs(stats: Mapping[str, Any]) -> dict[tuple[str, ...], float]:
    found: dict[tuple[str, ...], float] = {}
    for name, counts in stats["programs"].items():
        found[name, "success"] = counts["successful"]
        found[name, "failure"] = counts["total"] - counts["successful"]
    return found


def _seconds(stats: Mapping[str, Any]) -> Metric:
    name, total = f"{_PREFIX}_execution_seconds", stats["total_executions"]
    family = SummaryMetricFamily(name, "Seconds of an execution; quantiles are those of the last 10,000.")
    for share in (50, 95, 99):
        family.add_sample(name, {"quantile": f"{share / 100:g}"}, stats[f"p{share}_execution_time"])
    family.add_metric((), total, stats["average_execution_time"] * total)
    return family


def _numbers(part: str, values: Mapping[str, Any] | None, gauges: frozenset[str]) -> Iterator[Metric]:
    for name, value in (values or {}).items():
        if isinstance(value, int | float):
            kind = GaugeMetricFamily if name in gauges else CounterMetricFamily
            yield kind(f"{_PREFIX}_{part}_{name}", f"{part}: {name.replace('_', ' ')}", value)


__all__ = ["CONTENT_TYPE", "to_prometheus"]
