// Questions before something is changed, and what came of it.

import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";

import { words } from "../api/client.ts";
import type { Tone } from "../model/status.ts";
import { Note } from "./basics.tsx";
import { Icon } from "./icons.tsx";

interface Question {
  title: string;
  text: ComponentChildren;
  button: string;
  danger?: boolean;
  /** A number that is asked for, with its first value. */
  number?: { label: string; value: number };
  done: string;
  act(number: number): Promise<unknown>;
}

const asked = signal<Question | undefined>(undefined);

/** Asks, then acts; tells what came of it. */
export function ask(question: Question): void {
  asked.value = question;
}

export function Dialogs() {
  const question = asked.value;
  return question ? <Dialog key={question.title} question={question} /> : null;
}

function Dialog({ question }: { question: Question }) {
  const element = useRef<HTMLDialogElement>(null);
  const [value, setValue] = useState(question.number?.value ?? 0);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  useEffect(() => element.current?.showModal(), []);
  const close = () => (asked.value = undefined);
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await question.act(value);
      tell("ok", question.done);
      close();
    } catch (failed) {
      setError(words(failed));
      setBusy(false);
    }
  };
  return (
    <dialog ref={element} onClose={close} aria-labelledby="dialog-title">
      <form onSubmit={submit}>
        <h2 id="dialog-title">{question.title}</h2>
        <p class="small break">{question.text}</p>
        {question.number && (
          <label class="row small">
            <span class="grow">{question.number.label}</span>
            <input class="field num" type="number" min="0" max="10000" required autoFocus value={value} onInput={(event) => setValue(event.currentTarget.valueAsNumber || 0)} />
          </label>
        )}
        {error && <Note tone="bad">{error}</Note>}
        <div class="buttons">
          <button type="button" class="button" onClick={close} autoFocus={!question.number}>Cancel</button>
          <button type="submit" class={`button primary${question.danger ? " danger" : ""}`} disabled={busy}>{question.button}</button>
        </div>
      </form>
    </dialog>
  );
}

interface Toast {
  id: number;
  tone: Tone;
  text: string;
}

const SHOWN_MS = 6000;
const toasts = signal<Toast[]>([]);
let last = 0;

export function tell(tone: Tone, text: string): void {
  last += 1;
  const id = last;
  toasts.value = [...toasts.peek().slice(-3), { id, tone, text }];
  setTimeout(() => (toasts.value = toasts.peek().filter((one) => one.id !== id)), SHOWN_MS);
}

export const Toasts = () => (
  <div class="toasts" role="status" aria-live="polite">
    {toasts.value.map((one) => (
      <div class="toast" key={one.id}>
        <span class={one.tone}><Icon name={one.tone === "ok" ? "check" : "alert"} /></span>
        <span class="grow">{one.text}</span>
      </div>
    ))}
  </div>
);
