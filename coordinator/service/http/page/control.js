// Signing in and out, and pausing or resuming a federation.

import { call } from "./api.js";
import { byId, setText, show } from "./dom.js";

export class Control {
  constructor(onChange) {
    this.session = { can_sign_in: false, signed_in: false, csrf: null };
    this.federation = null;
    this.onChange = onChange;
    const signIn = byId("sign-in-dialog");
    const pause = byId("pause-dialog");
    byId("sign-in").addEventListener("click", () => {
      byId("token").value = "";
      setText(byId("sign-in-error"), "");
      signIn.showModal();
    });
    byId("sign-in-cancel").addEventListener("click", () => signIn.close());
    byId("sign-in-form").addEventListener("submit", (event) => this.submit(event, signIn, byId("sign-in-error"), () => this.signIn()));
    byId("sign-out").addEventListener("click", () => this.signOut());
    byId("pause").addEventListener("click", () => this.ask(pause));
    byId("pause-cancel").addEventListener("click", () => pause.close());
    byId("pause-form").addEventListener("submit", (event) => this.submit(event, pause, byId("pause-error"), () => this.pause()));
  }

  async load() {
    this.use(await call("GET", "api/v1/session"));
  }

  use(session) {
    this.session = session;
    show(byId("sign-in"), session.can_sign_in && !session.signed_in);
    show(byId("sign-out"), session.signed_in);
    this.show(this.federation);
  }

  show(federation) {
    this.federation = federation;
    const button = byId("pause");
    show(button, this.session.signed_in && federation !== null);
    if (federation) setText(button, federation.paused ? "Resume merging" : "Pause merging");
  }

  ask(dialog) {
    const { name, paused } = this.federation;
    this.wanted = { name, action: paused ? "resume" : "pause" };
    setText(byId("pause-title"), paused ? `Resume ${name}?` : `Pause ${name}?`);
    setText(byId("pause-text"), paused
      ? "The worker merges what is waiting, and goes on publishing versions."
      : "No version is published until it is resumed. Agents keep training and uploading; their deltas wait in the queue.");
    setText(byId("pause-confirm"), paused ? "Resume" : "Pause");
    setText(byId("pause-error"), "");
    dialog.showModal();
  }

  async submit(event, dialog, place, send) {
    event.preventDefault();
    try {
      await send();
      dialog.close();
    } catch (error) {
      setText(place, error.message);
      if (error.status === 401 && this.session.signed_in) await this.load();
    }
  }

  async signIn() {
    const token = byId("token").value;
    this.use(await call("POST", "api/v1/session", { body: { token } }));
  }

  async signOut() {
    try {
      await call("DELETE", "api/v1/session", { csrf: this.session.csrf });
    } catch {
      // a session that has ended already is what was wanted; one that could not be ended shows as signed in below
    }
    await this.load();
  }

  async pause() {
    const { name, action } = this.wanted;
    await call("POST", `api/v1/federations/${encodeURIComponent(name)}/${action}`, { csrf: this.session.csrf });
    this.onChange();
  }
}
