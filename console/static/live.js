/* Keeps the page current: applies the server-sent events of /events, counts ages, says when the connection is lost.
   It decides nothing about alarms or quality: every text comes from the server, this puts it in its place. */
"use strict";
(() => {
  const SILENCE_MS = 8000; // the server ticks each 3 s: longer silence is a lost connection, whatever the socket says
  const RETRY_MS = 2000;
  const FILTER_DELAY_MS = 250;
  const SCORES_MS = 2000; // the open panel's channel need not stand in the table: its scores are asked for
  const NOTICE_MS = 6000; // a success goes by itself; a failure stays until it is closed
  const body = document.body;
  const texts = body.dataset;
  let stream = null;
  let retryTimer = null;
  let lastEventMs = Date.now();
  let clockOffsetMs = Number(texts.nowMs) - Date.now(); // the server's clock less ours

  const mergeMarkup = window.mergeMarkup;
  const byId = (id) => document.getElementById(id);
  const nowMs = () => Date.now() + clockOffsetMs;

  // --- the stream -----------------------------------------------------------------------------------------------

  const listeners = {
    alarms: (text) => {
      mergeMarkup(byId("alarms"), text);
      showTitle();
    },
    fleet: (text) => mergeMarkup(byId("fleet"), text),
    values: (text) => JSON.parse(text).forEach(showCells),
    status: (text) => showStatus(JSON.parse(text)),
    tick: (text) => {
      clockOffsetMs = Number(text) - Date.now();
    },
    signed_out: () => window.location.assign("/login"),
  };

  function connect() {
    clearTimeout(retryTimer);
    if (stream) stream.close();
    lastEventMs = Date.now();
    stream = new EventSource("/events?" + queryParameters());
    stream.onerror = lose;
    for (const [name, take] of Object.entries(listeners)) {
      stream.addEventListener(name, (event) => {
        lastEventMs = Date.now();
        showConnected();
        take(event.data);
        showAges();
      });
    }
  }

  function lose() {
    if (stream) stream.close();
    stream = null;
    if (!body.hasAttribute("data-lost")) {
      body.setAttribute("data-lost", "");
      const time = formatClock(nowMs() - (Date.now() - lastEventMs));
      byId("lost").textContent = texts.lostBanner.replace("{time}", time);
      byId("lost").hidden = false;
      setConnection("lost", texts.connectionLost);
    }
    clearTimeout(retryTimer);
    retryTimer = setTimeout(retry, RETRY_MS);
  }

  async function retry() {
    // An EventSource cannot tell 401 from a dead server; the session may have ended meanwhile.
    try {
      const answer = await fetch("/", { method: "GET", redirect: "manual", cache: "no-store" });
      if (answer.type === "opaqueredirect") window.location.assign("/login");
      else connect();
    } catch {
      lose();
    }
  }

  function showConnected() {
    if (byId("connection").dataset.connection === "live") return;
    body.removeAttribute("data-lost");
    byId("lost").hidden = true;
    setConnection("live", texts.connectionLive);
  }

  function setConnection(state, text) {
    byId("connection").dataset.connection = state;
    byId("connection").textContent = text;
  }

  // --- parts of the page ----------------------------------------------------------------------------------------

  function showCells([id, level, reason, value, quality, lastGood, observedMs, score, detector, isUnusual]) {
    const row = byId("ch-" + id);
    if (!row) return;
    row.dataset.level = level;
    row.dataset.reason = reason;
    setText(row.querySelector(".now"), value);
    setText(row.querySelector(".last-good"), lastGood);
    setText(row.querySelector(".quality"), quality);
    setText(row.querySelector(".score b"), score);
    setText(row.querySelector(".score small"), detector);
    row.querySelector(".score").toggleAttribute("data-unusual", isUnusual);
    row.querySelector(".age").dataset.sinceMs = observedMs === null ? "" : observedMs;
  }

  async function showScores() {
    const scores = byId("scores");
    if (!scores || document.hidden) return;
    try {
      const answer = await fetch(scores.dataset.scoresUrl, { cache: "no-store", redirect: "manual" });
      const markup = answer.ok ? await answer.text() : "";
      if (markup && scores.isConnected) mergeMarkup(scores, markup);
    } catch {
      // The stream notices too, and says over all of the page that nothing is current.
    }
  }

  function showStatus(status) {
    const banners = byId("banners");
    status.banners.forEach((text, at) => {
      if (!banners.children[at]) banners.append(Object.assign(document.createElement("p"), { className: "banner" }));
      setText(banners.children[at], text);
    });
    while (banners.children.length > status.banners.length) banners.lastElementChild.remove();
    for (const [name, text] of Object.entries(status.counters)) {
      setText(document.querySelector(`[data-counter="${name}"] dd`), text);
    }
    byId("alarms-section").toggleAttribute("data-not-live", !status.is_live.alarms);
    byId("fleet-section").toggleAttribute("data-not-live", !status.is_live.fleet);
  }

  function showTitle() {
    const count = byId("alarms-none").dataset.unacknowledgedCount;
    document.title = count === "0" ? texts.title : texts.titleUnacknowledged.replace("{count}", count);
  }

  function setText(element, text) {
    if (element.textContent !== text) element.textContent = text;
  }

  // --- ages and the clock ---------------------------------------------------------------------------------------

  function showAges() {
    const now = nowMs();
    setText(byId("clock-time"), formatClock(now));
    for (const element of document.querySelectorAll("[data-since-ms]")) {
      const since = element.dataset.sinceMs;
      setText(element, since === "" ? "—" : formatAge(now - Number(since)));
    }
  }

  function formatAge(ageMs) {
    const seconds = Math.max(0, Math.floor(ageMs / 1000));
    if (seconds < 60) return `${seconds} ${texts.unitSecond}`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return `${minutes} ${texts.unitMinute}`;
    const hours = Math.floor(minutes / 60);
    if (hours < 48) return `${hours} ${texts.unitHour} ${minutes % 60} ${texts.unitMinute}`;
    return `${Math.floor(hours / 24)} ${texts.unitDay}`;
  }

  const clockFormat = new Intl.DateTimeFormat("en-GB", { timeStyle: "medium", timeZone: texts.timeZone });
  const formatClock = (ms) => clockFormat.format(new Date(ms));

  function beat() {
    showAges();
    if (Date.now() - lastEventMs > SILENCE_MS && !body.hasAttribute("data-lost")) lose();
  }

  // --- the filter -----------------------------------------------------------------------------------------------

  let page = new URLSearchParams(window.location.search).get("page") || "1";
  let filterTimer = null;

  function queryParameters() {
    const parameters = new URLSearchParams(new FormData(byId("filter")));
    parameters.set("page", page);
    return parameters.toString();
  }

  function applyFilter(toPage) {
    page = toPage;
    window.history.replaceState(null, "", "/?" + queryParameters());
    connect();
  }

  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  for (const kind of ["input", "change"]) {
    byId("filter").addEventListener(kind, () => {
      clearTimeout(filterTimer);
      filterTimer = setTimeout(() => applyFilter("1"), FILTER_DELAY_MS);
    });
  }

  // --- clicks ---------------------------------------------------------------------------------------------------

  function closePanel() {
    byId("detail").replaceChildren();
  }

  document.addEventListener("click", (event) => {
    const action = event.target.closest("[data-action]")?.dataset.action;
    const pageLink = event.target.closest("#fleet-pager a[data-page]");
    if (action === "close") closePanel();
    else if (action === "dismiss") event.target.closest("p").remove();
    else if (pageLink) {
      event.preventDefault();
      applyFilter(pageLink.dataset.page);
      byId("fleet-section").scrollIntoView();
    } else if (!event.target.closest("button, a")) {
      event.target.closest("#fleet-rows tr")?.querySelector(".node button").click();
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") closePanel();
  });

  // --- requests that htmx makes ---------------------------------------------------------------------------------

  document.addEventListener("htmx:after:swap", () => {
    const done = document.querySelector("#notice .done");
    if (done) setTimeout(() => done.remove(), NOTICE_MS);
    const heading = byId("panel-heading");
    if (heading && !heading.dataset.focused) {
      heading.dataset.focused = "yes";
      heading.focus({ preventScroll: true });
    }
  });
  document.addEventListener("htmx:error", () => {
    const notice = document.createElement("p");
    notice.className = "fault";
    notice.textContent = texts.requestFailed;
    byId("notice").replaceChildren(notice);
  });

  setInterval(beat, 1000);
  setInterval(showScores, SCORES_MS);
  beat();
  showTitle();
  connect();
})();
