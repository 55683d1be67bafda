// A line chart over time.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";

import { repaint } from "../theme.ts";

export interface Line {
  label: string;
  /** Name of a colour token. */
  colour: string;
}

/** The colour of a token as the page shows it now. */
function colour(host: HTMLElement, token: string, alpha = 1): string {
  const probe = document.createElement("i");
  probe.style.color = `var(--${token})`;
  host.append(probe);
  const rgb = getComputedStyle(probe).color;
  probe.remove();
  return alpha === 1 ? rgb : rgb.replace(/^rgb\((.*)\)$/, (_, parts: string) => `rgba(${parts}, ${alpha})`);
}

const clock = (at: number) => new Date(at * 1000).toLocaleTimeString("en-GB");

/** Steps of an axis of bytes. */
const POWERS = Array.from({ length: 50 }, (_, index) => 2 ** index);

function options(host: HTMLElement, lines: Line[], say: (value: number) => string, binary: boolean): uPlot.Options {
  const axis = { stroke: colour(host, "ink-3"), font: '11px "Inter Variable", sans-serif', ticks: { show: false } };
  const grid = { stroke: colour(host, "line"), width: 1 };
  return {
    width: host.clientWidth || 300,
    height: host.clientHeight || 168,
    padding: [10, 6, 0, 0],
    cursor: { points: { size: 7 }, drag: { x: false, y: false } },
    legend: { show: false },
    scales: { y: { range: (_, __, max) => [0, Math.max(1, (max || 0) * 1.15)] } },
    axes: [
      { ...axis, grid: { show: false }, space: 84, size: 30, gap: 8, values: (_, at) => at.map(clock) },
      { ...axis, grid, size: 56, space: 36, values: (_, at) => at.map(say), ...(binary ? { incrs: POWERS } : {}) },
    ],
    series: [
      {},
      ...lines.map((line) => ({
        label: line.label,
        stroke: colour(host, line.colour),
        fill: colour(host, line.colour, 0.1),
        width: 1.8,
        points: { show: false },
        paths: uPlot.paths.spline!(),
      })),
    ],
  };
}

/** `data`: times in Unix seconds, then the values of each line. */
export function Chart({ lines, data, say, label, binary = false }: { lines: Line[]; data: number[][]; say(value: number): string; label: string; binary?: boolean }) {
  const host = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot>(undefined);
  const paint = repaint.value;
  useEffect(() => {
    const element = host.current!;
    const made = new uPlot(options(element, lines, say, binary), data as uPlot.AlignedData, element);
    plot.current = made;
    const observer = new ResizeObserver(() => {
      if (element.clientWidth > 0) made.setSize({ width: element.clientWidth, height: element.clientHeight });
    });
    observer.observe(element);
    return () => {
      observer.disconnect();
      made.destroy();
    };
  }, [paint]);
  useEffect(() => plot.current?.setData(data as uPlot.AlignedData), [data]);
  return <div class="chart" ref={host} role="img" aria-label={label} />;
}
