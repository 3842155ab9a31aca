// The viewer page: the call's picture and sound by WHEP, its figures by polling /stats.
"use strict";

const POLL_MS = 1000;
const RETRY_MS = 2000;
const GATHER_MS = 1000;

const element = (id) => document.getElementById(id);
const stage = element("stage");
const picture = element("picture");

let token = new URLSearchParams(location.hash.slice(1)).get("token") || "";

// ---- talking to the receiver

function authorised(options = {}) {
  const headers = { ...options.headers };
  if (token) headers.Authorization = `Bearer ${token}`;
  return { ...options, headers };
}

async function ask(path, options) {
  const response = await fetch(path, authorised(options));
  if (response.status === 401) await askForToken();
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response;
}

let tokenAnswer = null;

function askForToken() {
  const dialog = element("token-dialog");
  tokenAnswer ??= new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      token = element("token").value.trim();
      tokenAnswer = null;
      resolve();
    }, { once: true });
    dialog.showModal();
  });
  return tokenAnswer;
}

// ---- the picture, by WHEP

function gathered(connection) {
  if (connection.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHER_MS);
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}

async function watchOnce() {
  const connection = new RTCPeerConnection();
  const stream = new MediaStream();
  let session = null;
  const hangUp = () => {
    if (session) fetch(session, authorised({ method: "DELETE", keepalive: true })).catch(() => {});
    connection.close();
  };
  addEventListener("pagehide", hangUp);
  try {
    connection.addTransceiver("video", { direction: "recvonly" });
    connection.addTransceiver("audio", { direction: "recvonly" });
    connection.addEventListener("track", ({ track }) => stream.addTrack(track));
    await connection.setLocalDescription();
    await gathered(connection);
    const response = await ask("whep", {
      method: "POST",
      headers: { "Content-Type": "application/sdp" },
      body: connection.localDescription.sdp,
    });
    session = response.headers.get("Location");
    await connection.setRemoteDescription({ type: "answer", sdp: await response.text() });
    picture.srcObject = stream;
    picture.play().catch(() => {});
    await new Promise((resolve) => {
      connection.addEventListener("connectionstatechange", () => {
        if (["failed", "closed", "disconnected"].includes(connection.connectionState)) resolve();
      });
    });
  } finally {
    removeEventListener("pagehide", hangUp);
    hangUp();
  }
}

async function watch() {
  for (;;) {
    try {
      await watchOnce();
    } catch (error) {
      console.info("not watching:", error.message);
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
}

// ---- the figures

const NOTICES = {
  waiting: "Waiting for a call",
  connecting: "A sender is connecting",
  "no references": "Waiting for reference pictures",
  stalled: "The sender's picture has stopped",
  held: "The picture is held",
  offline: "The receiver cannot be reached",
};

const kilobits = (bits) => (bits === null ? "–" : `${(bits / 1000).toFixed(1)} kbit/s`);

function showState(state, reason, holdReason) {
  stage.dataset.state = ["live", "held", "stalled", "offline"].includes(state) ? state : "waiting";
  const notice = state === "waiting" && reason ? `Waiting. The last call ended: ${reason}`
    : state === "held" ? `The picture is held: ${holdReason}` : NOTICES[state];
  element("notice-text").textContent = notice ?? state;
  const badge = element("state");
  badge.textContent = state;
  badge.className = `badge ${state === "live" ? "live" : ["held", "stalled", "offline"].includes(state) ? "warn" : ""}`;
}

function showFigures(stats) {
  const call = stats.call;
  const text = {
    fps: call && `${call.shown_fps.toFixed(1)} of ${call.received_fps.toFixed(1)} a second`,
    payload: call && kilobits(call.payload_bits_per_s),
    wire: call && kilobits(call.wire_bits_per_s ?? call.total_wire_bits_per_s),
    latency: call?.latency_ms && `${call.latency_ms.p50.toFixed(0)} ms`,
    decoder: `${call?.decoder_fps ? `${call.decoder_fps.toFixed(0)} fps, ` : ""}${stats.device}`,
    loss: call && `${(100 * call.loss).toFixed(1)} %`,
    codec: call?.codec,
    model: `${stats.config} ${stats.weights_sha256.slice(0, 8)}`,
  };
  for (const [id, value] of Object.entries(text)) element(id).textContent = value || "–";
}

let shownReferences = "";

async function showReferences(hashes) {
  element("reference-part").hidden = hashes.length === 0;
  if (hashes.join() === shownReferences) return;
  const images = await Promise.all(hashes.map(async (hash, index) => {
    const response = await ask(`references/${index}.png`);
    const image = new Image();
    image.src = URL.createObjectURL(await response.blob());
    image.alt = `reference picture ${index + 1}`;
    image.addEventListener("load", () => URL.revokeObjectURL(image.src));
    return image;
  }));
  element("references").replaceChildren(...images);
  shownReferences = hashes.join();
}

async function poll() {
  for (;;) {
    try {
      const stats = await (await ask("stats")).json();
      showState(stats.state, stats.end_reason, stats.hold_reason);
      showFigures(stats);
      await showReferences(stats.references);
    } catch {
      showState("offline", "", "");
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

element("sound").addEventListener("click", ({ currentTarget }) => {
  picture.muted = !picture.muted;
  currentTarget.textContent = picture.muted ? "Unmute" : "Mute";
  currentTarget.setAttribute("aria-pressed", String(!picture.muted));
  picture.play().catch(() => {});
});

element("command").textContent = `python -m sender --camera 0 --peer ${new URL("whip", location.href.split("#")[0])}`;
watch();
poll();
