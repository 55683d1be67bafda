// An object as YAML: to read, to copy, and to change where that is allowed.

import { useEffect, useState } from "preact/hooks";

import { readYaml, writeYaml } from "../api/act.ts";
import { useAllowed } from "../api/access.ts";
import { words } from "../api/client.ts";
import { SECRET, type Kind } from "../api/kinds.ts";
import { Card, Loading, Note } from "./basics.tsx";
import { tell } from "./dialog.tsx";
import { Icon } from "./icons.tsx";

export function Yaml({ kind, namespace, name, version }: { kind: Kind; namespace: string; name: string; version: string | undefined }) {
  const isSecret = kind.plural === SECRET.plural && kind.group === "";
  const [text, setText] = useState("");
  const [draft, setDraft] = useState<string>();
  const [error, setError] = useState("");
  const [shown, setShown] = useState(!isSecret);
  const mayChange = useAllowed({ verb: "update", kind, namespace, name });
  useEffect(() => {
    if (!shown) return;
    let left = false;
    readYaml(kind, namespace, name).then(
      (yaml) => !left && (setText(yaml), setError("")),
      (failed) => !left && setError(words(failed)),
    );
    return () => {
      left = true;
    };
  }, [kind, namespace, name, version, shown]);
  if (!shown) {
    return (
      <Card title="YAML">
        <p class="small muted">The document of a Secret holds its values.</p>
        <p style={{ marginTop: "12px" }}><button class="button" onClick={() => setShown(true)}><Icon name="eye" />Show it</button></p>
      </Card>
    );
  }
  const save = async () => {
    setError("");
    try {
      await writeYaml(kind, namespace, name, draft ?? "");
      setDraft(undefined);
      tell("ok", `${name} was changed.`);
    } catch (failed) {
      setError(words(failed));
    }
  };
  const copy = () => navigator.clipboard.writeText(text).then(() => tell("ok", "Copied."), () => tell("warn", "The browser does not let this page copy."));
  const tools = draft === undefined ? (
    <>
      <button class="button quiet" onClick={copy}><Icon name="copy" />Copy</button>
      {mayChange && <button class="button" onClick={() => setDraft(text)} disabled={!text}><Icon name="edit" />Edit</button>}
    </>
  ) : (
    <>
      <button class="button quiet" onClick={() => (setDraft(undefined), setError(""))}>Cancel</button>
      <button class="button primary" onClick={save}>Save</button>
    </>
  );
  return (
    <Card title="YAML" tools={tools} flush>
      {error && <div class="body"><Note tone="bad">{error}</Note></div>}
      {draft !== undefined ? (
        <textarea class="yaml-edit" aria-label="YAML" spellcheck={false} value={draft} onInput={(event) => setDraft(event.currentTarget.value)} />
      ) : text ? (
        <div class="yaml" tabIndex={0} role="region" aria-label="YAML of the object">
          {text.trimEnd().split("\n").map((line, index) => <Line key={index} number={index + 1} text={line} />)}
        </div>
      ) : (
        !error && <Loading rows={9} />
      )}
    </Card>
  );
}

/** One line with its key and value told apart. */
function Line({ number, text }: { number: number; text: string }) {
  const found = /^(\s*(?:- )*)([^\s#:'"-][^:]*|'[^']*'|"[^"]*")(:)(\s+.*|)$/.exec(text);
  const parts = found ? (
    <span>
      {found[1]}
      <span class="key">{found[2]}</span>
      {found[3]}
      <Value text={found[4]!} />
    </span>
  ) : (
    <span>{text || " "}</span>
  );
  return <p data-line={number}>{parts}</p>;
}

const Value = ({ text }: { text: string }) => {
  const bare = text.trim();
  const literal = /^(true|false|null|~|-?[\d.]+)$/.test(bare);
  return <span class={bare === "" ? "" : literal ? "literal" : "text"}>{text}</span>;
};
