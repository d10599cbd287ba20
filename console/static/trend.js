/* Draws the trend in #chart: band from minimum to maximum, mean, set-points, stripes where all was bad. */
"use strict";
(() => {
  const REFRESH_MS = { "10m": 5000, "1h": 20000, "24h": 120000 };
  const HEIGHT_PX = 230;
  let plot = null;
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
    if (plot && plot.root.parentElement === element) {
      plot.setData(columns);
      return;
    }
    if (plot) plot.destroy();
    plot = new window.uPlot(options(element), columns, element);
    element.dataset.drawn = "yes";
  }

  function options(element) {
    const labels = element.dataset;
    const axis = { stroke: colour("text-soft"), grid: { stroke: colour("line"), width: 1 }, ticks: { stroke: colour("line") } };
    const number = (_plot, value) => (value === null || value === undefined ? "—" : String(Number(value.toPrecision(6))));
    const edge = { stroke: colour("band-edge"), width: 1, points: { show: false }, value: number };
    return {
      width: element.clientWidth,
      height: HEIGHT_PX,
      tzDate: (seconds) => window.uPlot.tzDate(new Date(seconds * 1e3), document.body.dataset.timeZone),
      scales: {
        x: { range: () => [chart.from_s, chart.to_s] },
        y: { range: rangeWithSetPoints },
      },
      axes: [{ ...axis, values: timeLabels }, { ...axis, size: 64 }],
      series: [
        { label: labels.labelTime, value: "{YYYY}-{MM}-{DD} {HH}:{mm}:{ss}" },
        { label: labels.labelMinimum, ...edge },
        { label: labels.labelMaximum, ...edge },
        { label: labels.labelMean, stroke: colour("accent"), width: 2, value: number },
      ],
      bands: [{ series: [2, 1], fill: colour("band") }],
      hooks: { drawClear: [drawBadSpans], draw: [drawSetPoints] },
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

  function drawSetPoints(plot) {
    const context = plot.ctx;
    const { left, width } = plot.bbox;
    context.save();
    context.lineWidth = 2;
    context.setLineDash([8, 6]);
    for (const { value, colour: grade } of chart.set_points) {
      const y = plot.valToPos(value, "y", true);
      context.strokeStyle = colour("grade-" + grade);
      context.beginPath();
      context.moveTo(left, y);
      context.lineTo(left + width, y);
      context.stroke();
    }
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
    if (plot && plot.root.isConnected) plot.setSize({ width: plot.root.parentElement.clientWidth, height: HEIGHT_PX });
  });
})();
