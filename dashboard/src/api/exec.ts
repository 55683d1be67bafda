// A command in a container over a WebSocket (v5.channel.k8s.io): each message begins with the byte of its channel.

import { getText, words } from "./client.ts";
import { objectPath, POD } from "./kinds.ts";
import { token } from "./session.ts";

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;

const PROTOCOL = "v5.channel.k8s.io";
/** The subprotocol that carries a token, as upstream has it for browsers, which cannot set headers. */
const BEARER = "base64url.bearer.authorization.k8s.io.";

export interface Exec {
  write(text: string): void;
  resize(columns: number, rows: number): void;
  close(): void;
}

export interface Handlers {
  open(): void;
  output(bytes: Uint8Array): void;
  /** `why` is empty where the command ended well. */
  end(why: string): void;
}

export function exec(at: { namespace: string; pod: string; container: string }, command: string[], on: Handlers): Exec {
  const query = new URLSearchParams({ container: at.container, stdin: "true", stdout: "true", tty: "true" });
  for (const word of command) query.append("command", word);
  const path = `${objectPath(POD, at.namespace, at.pod)}/exec?${query}`;
  const protocols = [PROTOCOL];
  if (token.peek()) protocols.push(BEARER + base64url(token.peek()));
  const socket = new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`, protocols);
  socket.binaryType = "arraybuffer";
  let opened = false;
  let why: string | undefined;
  const send = (channel: number, bytes: Uint8Array) => {
    if (socket.readyState !== WebSocket.OPEN) return;
    const message = new Uint8Array(bytes.length + 1);
    message[0] = channel;
    message.set(bytes, 1);
    socket.send(message);
  };
  const text = new TextEncoder();
  socket.onopen = () => {
    opened = true;
    on.open();
  };
  socket.onmessage = ({ data }) => {
    const bytes = new Uint8Array(data as ArrayBuffer);
    const rest = bytes.subarray(1);
    if (bytes[0] === STDOUT || bytes[0] === STDERR) on.output(rest);
    else if (bytes[0] === ERROR) why = outcome(new TextDecoder().decode(rest));
  };
  socket.onclose = (event) => {
    if (why !== undefined) on.end(why);
    else if (opened) on.end(event.reason || "The connection was lost.");
    else void refusal(path).then((reason) => on.end(reason));
  };
  return {
    write: (typed) => send(STDIN, text.encode(typed)),
    resize: (columns, rows) => send(RESIZE, text.encode(JSON.stringify({ Width: columns, Height: rows }))),
    close: () => socket.close(),
  };
}

/** What the Status on the error channel says: nothing for success. */
export function outcome(json: string): string {
  try {
    const status = JSON.parse(json);
    return status.status === "Success" ? "" : (status.message ?? "The command failed.");
  } catch {
    return json;
  }
}

/** A browser does not tell why a WebSocket was refused; the same request without an upgrade does. */
async function refusal(path: string): Promise<string> {
  try {
    await getText(path);
  } catch (error) {
    const said = words(error);
    if (!/upgrade/i.test(said)) return said;
  }
  return "The terminal could not be opened. A proxy on the way may not let WebSockets through (`kubectl proxy` needs --reject-paths='').";
}

export function base64url(value: string): string {
  const bytes = new TextEncoder().encode(value);
  const plain = btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
  return plain.replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
}
