/* Merges markup that the server rendered into the page, in place: an element that stays keeps its identity, and with
   it the focus, the pointer and what a screen reader has said already. Children of [data-keyed] all have an id and are
   matched by it (and moved), others by their position. The text of [data-since-ms] is the page's own (live.js counts ages). */
"use strict";
window.mergeMarkup = (() => {
  function mergeMarkup(container, html) {
    const template = document.createElement("template");
    template.innerHTML = html;
    const focused = document.activeElement;
    mergeChildren(container, template.content);
    if (focused && focused.isConnected && document.activeElement !== focused) focused.focus({ preventScroll: true });
  }

  function mergeChildren(known, wanted) {
    if (known.hasAttribute("data-keyed")) mergeKeyed(known, [...wanted.children]);
    else if (isAlike(known, wanted)) [...wanted.childNodes].forEach((node, at) => mergeNode(known.childNodes[at], node));
    else {
      known.replaceChildren(...wanted.childNodes);
      for (const child of known.children) window.htmx.process(child);
    }
  }

  function mergeKeyed(known, wanted) {
    wanted.forEach((source, at) => {
      const own = document.getElementById(source.id);
      const kept = own !== null && own.parentElement === known;
      if (kept) mergeNode(own, source);
      const placed = kept ? own : source;
      if (known.children[at] !== placed) known.insertBefore(placed, known.children[at] || null);
      if (!kept) window.htmx.process(placed);
    });
    while (known.children.length > wanted.length) known.lastElementChild.remove();
  }

  function mergeNode(known, wanted) {
    if (known.nodeType !== Node.ELEMENT_NODE) {
      if (known.nodeValue !== wanted.nodeValue) known.nodeValue = wanted.nodeValue;
      return;
    }
    mergeAttributes(known, wanted);
    if (!wanted.hasAttribute("data-since-ms")) mergeChildren(known, wanted);
  }

  function mergeAttributes(known, wanted) {
    for (const { name, value } of [...wanted.attributes]) {
      if (known.getAttribute(name) !== value) known.setAttribute(name, value);
    }
    for (const { name } of [...known.attributes]) {
      if (!wanted.hasAttribute(name) && !name.startsWith("data-htmx")) known.removeAttribute(name);
    }
  }

  function isAlike(known, wanted) {
    const shape = (parent) => [...parent.childNodes].map((node) => node.nodeName).join();
    return shape(known) === shape(wanted);
  }

  return mergeMarkup;
})();
