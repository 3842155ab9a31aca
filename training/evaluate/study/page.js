"use strict";
(() => {
  const study = JSON.parse(document.getElementById("study").textContent);
  const $ = (id) => document.getElementById(id);
  const videos = ["left", "original", "right"].map($);
  const keys = { ArrowLeft: "left", 1: "left", ArrowRight: "right", 2: "right" };
  let person = 0, answers = [], started = "", asked = null;

  // ---- What is kept in the browser. Some browsers give a page from a file no storage: then it lasts while open.
  const place = () => `warpcall-study-${study.id}-${person}`;
  const remember = () => {
    try { localStorage.setItem(place(), JSON.stringify({ started, answers })); } catch { /* it lasts while open */ }
  };
  const recall = () => {
    try {
      const kept = JSON.parse(localStorage.getItem(place()));
      return kept && Array.isArray(kept.answers) ? kept : null;
    } catch { return null; }
  };

  const show = (id) => { for (const each of ["welcome", "question", "done"]) $(each).hidden = each !== id; };
  const hand = () => study.people[person - 1];

  // ---- One question: three videos that start and start again together.
  const ask = (shown, number, total) => {
    const question = { shown, number, ended: 0, since: 0, asked: performance.now(), ready: false };
    asked = question;
    $("progress").textContent = number === null ? "Example" : `${number + 1} of ${total}`;
    $("time").textContent = "";
    $("time").classList.remove("short");
    $("ask").textContent = "Loading";
    enable(false);
    for (const video of videos) {
      video.onended = () => { if (asked === question && ++question.ended % videos.length === 0) again(question); };
      video.onerror = () => { if (asked === question) answer(null, "error"); };
      video.oncanplaythrough = () => {
        if (asked === question && !question.ready && videos.every((each) => each.readyState >= 4)) begin(question);
      };
      video.src = study.places[shown[video.id]];
      video.load();
    }
  };
  const play = () => { for (const video of videos) { video.currentTime = 0; video.play().catch(() => {}); } };
  const begin = (question) => {
    question.ready = true;
    question.since = performance.now();
    $("ask").textContent = "Watch";
    play();
  };
  const again = (question) => {
    if (question.ended === videos.length) {
      $("ask").textContent = question.number === null
        ? "An example: the right one is blurred, so the left is better. Choose it to begin." : "Which copy is better?";
      enable(true);
    }
    play();
  };
  const enable = (on) => { for (const side of ["left", "right"]) $(`choose-${side}`).disabled = !on; };

  const answer = (choice, reason) => {
    const question = asked;
    if (!question) return;
    if (question.number === null) {
      if (choice === "right") { $("ask").textContent = "Look again: the right one is blurred."; return; }
    } else {
      const seconds = question.ready ? Math.round((performance.now() - question.since) / 10) / 100 : 0;
      answers.push({ question: question.number, choice, seconds, ...(reason ? { reason } : {}) });
      remember();
    }
    next();
  };
  const next = () => {
    asked = null;
    for (const video of videos) video.pause();
    if (answers.length < hand().length) ask(hand()[answers.length], answers.length, hand().length);
    else finish();
  };

  setInterval(() => {
    if (asked && !asked.ready && performance.now() - asked.asked > 1000 * study.limit_s) { answer(null, "error"); return; }
    if (!asked || asked.number === null || !asked.ready) return;
    const left = study.limit_s - (performance.now() - asked.since) / 1000;
    $("time").textContent = `${Math.max(0, Math.ceil(left))} s`;
    $("time").classList.toggle("short", left < 15);
    if (left <= 0) answer(null, "time");
  }, 200);

  for (const side of ["left", "right"]) $(`choose-${side}`).addEventListener("click", () => answer(side));
  document.addEventListener("keydown", (event) => {
    const side = keys[event.key];
    if (!side || $("question").hidden || event.repeat || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    if (!$(`choose-${side}`).disabled) answer(side);
  });

  // ---- Start, and the end.
  const text = () => JSON.stringify({ format: "warpcall answers 1", study: study.id, person, started, answers }, null, 1);
  const finish = () => {
    show("done");
    const given = answers.filter((each) => each.choice !== null).length;
    $("summary").textContent = `You answered ${given} of ${answers.length} questions.`;
    $("text").value = text();
  };
  $("save").addEventListener("click", () => {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text()], { type: "application/json" }));
    link.download = `answers-${study.id}-${person}.json`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  const look = () => {
    person = Number($("person").value);
    const kept = hand() ? recall() : null;
    $("resumed").textContent = kept && kept.answers.length ? `You go on after question ${kept.answers.length}.` : "";
    return kept;
  };
  $("person").addEventListener("input", look);
  $("start").addEventListener("submit", (event) => {
    event.preventDefault();
    const kept = look();
    if (!hand()) return;
    answers = kept ? kept.answers.slice(0, hand().length) : [];
    started = kept ? kept.started : new Date().toISOString();
    if (answers.length >= hand().length) { finish(); return; }
    show("question");
    if (answers.length) next(); else ask(study.example, null, 0);
  });

  $("person").max = study.people.length;
  $("limit").textContent = study.limit_s === 60 ? "a minute" : `${study.limit_s} seconds`;
  const given = /[#&]person=(\d+)/.exec(location.hash);
  if (given) { $("person").value = given[1]; look(); }
})();
