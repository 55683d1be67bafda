// Asks for a bearer token, and says how to get one.

import { useState } from "preact/hooks";

import { words } from "../api/client.ts";
import { signIn } from "../api/identity.ts";
import { notice } from "../api/session.ts";
import { Note } from "../parts/basics.tsx";
import mark from "../styles/mark.svg";

const COMMANDS = `kubectl -n kube-system create serviceaccount dashboard
kubectl create clusterrolebinding dashboard \\
  --clusterrole=cluster-admin --serviceaccount=kube-system:dashboard
kubectl -n kube-system create token dashboard`;

export function SignIn() {
  const [value, setValue] = useState("");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState("");
  const submit = async (event: Event) => {
    event.preventDefault();
    setBusy(true);
    setError("");
    try {
      await signIn(value);
    } catch (failed) {
      setError(words(failed));
      setBusy(false);
    }
  };
  return (
    <div class="sign-in">
      <main>
        <div class="hello">
          <img src={mark} alt="" />
          <div>
            <h1>Sign in to Mainstay</h1>
            <p class="muted">{location.host}</p>
          </div>
        </div>
        <div class="card">
          <form onSubmit={submit}>
            {notice.value && !error && <Note tone="warn">{notice.value}</Note>}
            {error && <Note tone="bad">{error}</Note>}
            <label for="token">Bearer token</label>
            <input id="token" class="field" type="password" name="token" autoComplete="off" spellcheck={false} required autoFocus placeholder="eyJhbGciOi…" value={value} onInput={(event) => setValue(event.currentTarget.value)} />
            <button class="button primary" type="submit" disabled={busy || !value.trim()}>{busy ? "Signing in…" : "Sign in"}</button>
          </form>
          <details>
            <summary>Where do I get a token?</summary>
            <pre>{COMMANDS}</pre>
            The last command prints one. You see and do here what its account may: bind a smaller role than cluster-admin
            for less. Or run <code>kubectl proxy</code> and open <code>http://127.0.0.1:8001/ui/</code>: no token is needed then.
          </details>
        </div>
        <p class="muted small" style={{ textAlign: "center", marginTop: "18px" }}>The token stays in this tab and is forgotten with it.</p>
      </main>
    </div>
  );
}
