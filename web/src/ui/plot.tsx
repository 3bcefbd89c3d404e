import { Text, useComputedColorScheme } from '@mantine/core';
import { useEffect, useRef, useState } from 'react';

import type { DeployMark, MetricsPoint } from '../api/client';
import { part } from '../shell/outdated';
import { text } from '../text';
import { nonce } from './nonce';

export interface Line {
  name: string;
  of: (p: MetricsPoint) => number | undefined;
  bars?: boolean;
}

const colours = { light: ['#0b5c8a', '#b45309', '#9d1f5f', '#14653a'], dark: ['#7cc4ec', '#efbf6c', '#f0a3c8', '#82d6a3'] };

/** Plotly writes its rules into a style element, which needs this document's nonce: it looks for this one as soon as it is loaded. */
function prepare() {
  if (document.getElementById('plotly.js-style-global') !== null) return;
  const style = document.createElement('style');
  style.id = 'plotly.js-style-global';
  style.nonce = nonce();
  document.head.append(style);
}

/** Those whose names have room on the axis: of some that are close to each other, the last. */
function apart(deploys: DeployMark[], span: number) {
  return deploys.filter((d, i) => {
    const next = deploys[i + 1];
    return next === undefined || Date.parse(next.at) - Date.parse(d.at) > span / 20;
  });
}

/** Numbers over time; deploys are marked on the axis. Plotly comes when the first plot is shown. */
export function Plot({ title, points, lines, deploys, range, unit = '' }: {
  title: string;
  points: MetricsPoint[];
  lines: Line[];
  deploys: DeployMark[];
  range: [string, string];
  unit?: string;
}) {
  const box = useRef<HTMLDivElement>(null);
  const scheme = useComputedColorScheme('light');
  const [from, to] = range;
  const [problem, setProblem] = useState<unknown>(null);
  useEffect(() => {
    const div = box.current;
    if (div === null) return;
    let gone = false;
    let clean = () => undefined as unknown;
    prepare();
    void part(() => import('plotly.js-basic-dist-min')).then(({ default: plotly }) => {
      if (gone) return;
      const ink = scheme === 'dark' ? '#9ca8b7' : '#566273';
      const grid = scheme === 'dark' ? '#2a3440' : '#e4e8ed';
      const local = (iso: string) => new Date(iso);
      void plotly.react(
        div,
        lines.map((l, i) => ({
          name: l.name,
          x: points.map((p) => local(p.at)),
          y: points.map((p) => l.of(p) ?? null),
          ...(l.bars ? { type: 'bar' as const } : { type: 'scatter' as const, mode: points.length < 2 ? ('markers' as const) : ('lines' as const) }),
          marker: { color: colours[scheme][i % 4] },
          line: { color: colours[scheme][i % 4], width: 2 },
          hovertemplate: `%{y:,.4~g}${unit}<extra>${l.name}</extra>`,
        })),
        {
          margin: { l: 52, r: 12, t: 8, b: 32 },
          paper_bgcolor: 'transparent',
          plot_bgcolor: 'transparent',
          font: { color: ink, size: 12 },
          barmode: 'stack',
          hovermode: 'x unified',
          hoverlabel: { bgcolor: scheme === 'dark' ? '#1d2631' : '#fff', font: { color: scheme === 'dark' ? '#e6ebf1' : '#17202b' } },
          showlegend: lines.length > 1,
          legend: { orientation: 'h', y: 1.15, x: 0 },
          xaxis: { type: 'date', range: [local(from), local(to)], tickangle: 0, nticks: Math.max(3, Math.floor(div.clientWidth / 100)), gridcolor: grid, zeroline: false },
          yaxis: { rangemode: 'tozero', minexponent: 9, gridcolor: grid, zeroline: false, ticksuffix: unit, nticks: 5, automargin: true },
          shapes: deploys.map((d) => ({ type: 'line', x0: local(d.at), x1: local(d.at), yref: 'paper', y0: 0, y1: 1, line: { color: ink, width: 1, dash: 'dot' } })),
          annotations: apart(deploys, Date.parse(to) - Date.parse(from)).map((d) => ({ x: local(d.at), yref: 'paper', y: 1, text: d.release ? `v${d.release}` : text.metrics.deploy(d.seq), showarrow: false, yanchor: 'bottom', font: { size: 10, color: ink } })),
        },
        { displayModeBar: false, responsive: true },
      );
      clean = () => plotly.purge(div);
    }, setProblem);
    return () => {
      gone = true;
      clean();
    };
  }, [points, lines, deploys, from, to, scheme, unit]);
  if (problem !== null) return <Text size="sm">{text.outdated.why}</Text>;
  return <div ref={box} className="plot" role="img" aria-label={title} />;
}
