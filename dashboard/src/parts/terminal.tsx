// A shell in a container.

import { useEffect, useRef, useState } from "preact/hooks";

import { exec, type Exec } from "../api/exec.ts";
import { TerminalView } from "../terminal/view.ts";

/** The best shell that there is. */
const SHELL = ["sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh"];

export function Terminal({ namespace, pod, containers, first }: { namespace: string; pod: string; containers: string[]; first: string }) {
  const [container, setContainer] = useState(first);
  const [command, setCommand] = useState("");
  const [started, setStarted] = useState(0);
  const [state, setState] = useState("Connecting");
  const [over, setOver] = useState(false);
  const host = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let session: Exec | undefined;
    let left = false;
    const view = new TerminalView(host.current!, {
      type: (text) => session?.write(text),
      resize: (columns, rows) => session?.resize(columns, rows),
    });
    view.fit();
    setOver(false);
    setState("Connecting");
    session = exec({ namespace, pod, container }, command.trim() ? ["sh", "-c", command] : SHELL, {
      open: () => {
        setState("Connected");
        session?.resize(view.screen.columns, view.screen.lines);
        view.focus();
      },
      output: (bytes) => view.write(bytes),
      end: (why) => {
        if (left) return;
        setState(why ? "Ended" : "Done");
        setOver(true);
        view.say(`\r\n\x1b[2m${why || "The command ended."}\x1b[0m\r\n`);
      },
    });
    return () => {
      left = true;
      session?.close();
      view.end();
    };
  }, [namespace, pod, container, started]);
  return (
    <section class="console" aria-label="Terminal">
      <form class="toolbar" onSubmit={(event) => (event.preventDefault(), setStarted(started + 1))}>
        {containers.length > 1 && (
          <select class="select" aria-label="Container" value={container} onChange={(event) => setContainer(event.currentTarget.value)}>
            {containers.map((name) => <option key={name}>{name}</option>)}
          </select>
        )}
        <input class="field mono grow" aria-label="Command" placeholder="A shell" spellcheck={false} autoCapitalize="off" value={command} onInput={(event) => setCommand(event.currentTarget.value)} />
        <span class="state" role="status" data-exec={state}>{state}</span>
        <button class="button" type="submit">{over ? "Start again" : "Restart"}</button>
      </form>
      <div class="term" ref={host} data-terminal={container} />
    </section>
  );
}
