/* Draws the trend in #chart: band from minimum to maximum, mean, set-points, stripes where all was bad; and below it in
   #score-chart the highest scores, a line for each detector, told apart by its sign, its dashes and its colour. */
"use strict";
(() => {
  const REFRESH_MS = { "10m": 5000, "1h": 20000, "24h": 120000 };
  const HEIGHT_PX = 230;
  const SCORE_HEIGHT_PX = 130;
  const SCORE_SIGNS = ["●", "■", "◆", "▼", "★", "✚", "○", "□", "◇", "▽"]; // ▲ marks what is unusual
  const SCORE_DASHES = [[], [10, 4], [3, 3], [10, 4, 3, 4]];
  const SCORE_COLOURS = 5; // --score-0 … in console.css
  const SIGN_DISTANCE_PX = 60;
  const ACTION_LIMIT = 0.5; // 3 sigma
  let plot = null;
  let scorePlot = null;
  let scorePlotNames = "";
  let chart = null; // what the server told last
  let timer = null;

  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

  async function load(element) {
    clearTimeout(timer);
    let answer;
    try {
      answer = await fetch(element.dataset.trendUrl, { cache: "no-store" });
      const told = await answer.json();
      if (!element.isConnected) return;
      if (answer.ok) draw(element, told);
      else fail(told.fault);
    } catch {
      if (!element.isConnected) return;
      fail(element.dataset.textLost);
    }
    timer = setTimeout(() => element.isConnected && load(element), REFRESH_MS[element.dataset.span]);
  }

  function fail(text) {
    const fault = document.getElementById("chart-fault");
    fault.textContent = text;
    fault.hidden = text === "";
  }

  function draw(element, told) {
    chart = told;
    fail(told.mean.some((mean) => mean !== null) || told.bad_spans_s.length ? "" : element.dataset.textEmpty);
    const columns = [told.time_s, told.minimum, told.maximum, told.mean];
    plot = show(plot, element, columns, () => valueOptions(element));
    drawScores(element.dataset.labelTime, told);
    element.dataset.drawn = "yes";
  }

  function drawScores(timeLabel, told) {
    const element = document.getElementById("score-chart");
    const columns = [told.time_s, ...told.scores.map((line) => line.maximum)];
    const isAny = told.scores.some((line) => line.maximum.some((score) => score !== null));
    document.getElementById("score-chart-empty").hidden = isAny;
    element.hidden = !isAny;
    if (!isAny) return;
    const names = told.scores.map((line) => line.name).join();
    if (scorePlot && scorePlotNames !== names) {
      scorePlot.destroy(); // the registry gave the channel other detectors
      scorePlot = null;
    }
    scorePlotNames = names;
    scorePlot = show(scorePlot, element, columns, () => scoreOptions(element, timeLabel));
  }

  // Into the plot that stands there, if it has as many lines; else into a new one.
  function show(known, element, columns, makeOptions) {
    if (known && known.root.parentElement === element && known.series.length === columns.length) {
      known.setData(columns);
      return known;
    }
    if (known) known.destroy();
    return new window.uPlot(makeOptions(), columns, element);
  }

  function commonOptions(element) {
    const axis = { stroke: colour("text-soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
    return {
      axis,
      width: element.clientWidth,
      cursor: { sync: { key: "trend" } },
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1e3), document.body.dataset.timeZone),
      time: (label) => ({ label, value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" }),
      x: { range: () => [chart.from_s, chart.to_s] },
    };
  }

  function valueOptions(element) {
    const labels = element.dataset;
    const { axis, width, cursor, tzDate, time, x } = commonOptions(element);
    const number = (_plot, value) => (value === null || value === undefined ? "—" : String(Number(value.toPrecision(6))));
    const edge = { stroke: colour("band-edge"), width: 1, points: { show: false }, value: number };
    return {
      width,
      height: HEIGHT_PX,
      cursor,
      tzDate,
      scales: { x, y: { range: rangeWithSetPoints } },
      axes: [{ ...axis, values: timeLabels }, { ...axis, size: 64 }],
      series: [
        time(labels.labelTime),
        { label: labels.labelMinimum, ...edge },
        { label: labels.labelMaximum, ...edge },
        { label: labels.labelMean, stroke: colour("accent"), width: 2, value: number },
      ],
      bands: [{ series: [2, 1], fill: colour("band") }],
      hooks: { drawClear: [drawBadSpans], draw: [(plot) => drawSetPoints(plot, chart.set_points)] },
    };
  }

  function scoreOptions(element, timeLabel) {
    const { axis, width, cursor, tzDate, time, x } = commonOptions(element);
    const number = (_plot, score) => (score === null || score === undefined ? "—" : score.toFixed(2));
    const lines = chart.scores.map((line, at) => ({
      label: `${SCORE_SIGNS[at % SCORE_SIGNS.length]} ${line.name}`,
      stroke: colour(`score-${at % SCORE_COLOURS}`),
      dash: SCORE_DASHES[at % SCORE_DASHES.length],
      width: 1.5,
      points: { show: false },
      value: number,
    }));
    return {
      width,
      height: SCORE_HEIGHT_PX,
      cursor,
      tzDate,
      scales: { x, y: { range: [0, 1] } },
      axes: [{ ...axis, values: timeLabels }, { ...axis, size: 64, splits: [0, ACTION_LIMIT, 1] }],
      series: [time(timeLabel), ...lines],
      legend: { markers: { dash: (_plot, series) => (series % SCORE_DASHES.length === 1 ? "solid" : "dashed") } },
      hooks: { drawClear: [drawBadSpans], draw: [drawActionLimit, (plot) => drawSetPoints(plot, chart.score_set_points), drawSigns] },
    };
  }

  // uPlot's own labels are of 12 hours and American order.
  const timeLabels = (plot, splits, _axis, _space, step) => {
    const format = window.uPlot.fmtDate(step < 60 ? "{HH}:{mm}:{ss}" : "{HH}:{mm}");
    return splits.map((second) => format(window.uPlot.tzDate(new Date(second * 1e3), document.body.dataset.timeZone)));
  };

  function rangeWithSetPoints(_plot, low, high) {
    const values = chart.set_points.map((row) => row.value);
    if (low !== null && high !== null) values.push(low, high);
    if (!values.length) return [0, 1];
    const least = Math.min(...values);
    const most = Math.max(...values);
    const margin = (most - least || Math.abs(most) || 1) * 0.08;
    return [least - margin, most + margin];
  }

  function drawBadSpans(plot) {
    const context = plot.ctx;
    const { left, width, top, height } = plot.bbox;
    context.save();
    context.beginPath();
    context.rect(left, top, width, height);
    context.clip();
    context.fillStyle = colour("bad-stripe");
    for (const [from, to] of chart.bad_spans_s) {
      const start = plot.valToPos(from, "x", true);
      context.fillRect(start, top, Math.max(2, plot.valToPos(to, "x", true) - start), height);
    }
    context.restore();
  }

  function drawSetPoints(plot, setPoints) {
    for (const { value, colour: grade } of setPoints) drawLevel(plot, value, { stroke: colour("grade-" + grade), width: 2, dash: [8, 6] });
  }

  const drawActionLimit = (plot) => drawLevel(plot, ACTION_LIMIT, { stroke: colour("text-soft"), width: 1, dash: [2, 3] });

  function drawLevel(plot, value, { stroke, width, dash }) {
    const context = plot.ctx;
    const y = plot.valToPos(value, "y", true);
    context.save();
    context.lineWidth = width;
    context.setLineDash(dash);
    context.strokeStyle = stroke;
    context.beginPath();
    context.moveTo(plot.bbox.left, y);
    context.lineTo(plot.bbox.left + plot.bbox.width, y);
    context.stroke();
    context.restore();
  }

  // Each line's sign now and then on it, and on every score that stands alone: that one would have no line at all.
  function drawSigns(plot) {
    const context = plot.ctx;
    const scale = window.devicePixelRatio || 1;
    context.save();
    context.font = `${12 * scale}px sans-serif`;
    context.textAlign = "center";
    context.textBaseline = "middle";
    chart.scores.forEach(({ maximum }, line) => {
      if (!plot.series[line + 1].show) return;
      context.fillStyle = colour(`score-${line % SCORE_COLOURS}`);
      let lastX = -Infinity;
      maximum.forEach((score, at) => {
        if (score === null) return;
        const x = plot.valToPos(chart.time_s[at], "x", true);
        const isAlone = (maximum[at - 1] ?? null) === null && (maximum[at + 1] ?? null) === null;
        if (!isAlone && x - lastX < SIGN_DISTANCE_PX * scale) return;
        context.fillText(SCORE_SIGNS[line % SCORE_SIGNS.length], x, plot.valToPos(score, "y", true));
        lastX = x;
      });
    });
    context.restore();
  }

  document.addEventListener("htmx:after:swap", () => {
    const element = document.getElementById("chart");
    if (element && !element.dataset.asked) {
      element.dataset.asked = "yes";
      load(element);
    }
  });
  window.addEventListener("resize", () => {
    for (const [each, height] of [[plot, HEIGHT_PX], [scorePlot, SCORE_HEIGHT_PX]]) {
      if (each && each.root.isConnected) each.setSize({ width: each.root.parentElement.clientWidth, height });
    }
  });
})();
