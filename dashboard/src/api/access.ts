// What the user may do, asked of the server: buttons that would be refused are not shown. The server decides all the same.

import { signal, type Signal } from "@preact/signals";
import { useMemo } from "preact/hooks";

import { getJson } from "./client.ts";
import type { Kind } from "./kinds.ts";
import { user } from "./session.ts";

const REVIEW = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";

const AGAIN_MS = 5_000;

const answers = new Map<string, Signal<boolean>>();
user.subscribe((who) => {
  if (!who) answers.clear();
});

export interface Question {
  verb: string;
  kind: Pick<Kind, "group" | "plural">;
  subresource?: string;
  namespace?: string;
  name?: string;
}

/** A signal that turns true once the server said yes. */
export function allowed(question: Question): Signal<boolean> {
  const attributes = {
    verb: question.verb,
    group: question.kind.group,
    resource: question.kind.plural,
    subresource: question.subresource ?? "",
    namespace: question.namespace ?? "",
    name: question.name ?? "",
  };
  const key = JSON.stringify(attributes);
  let answer = answers.get(key);
  if (!answer) {
    answer = signal(false);
    answers.set(key, answer);
    void ask(attributes, answer, key);
  }
  return answer;
}

async function ask(resourceAttributes: object, answer: Signal<boolean>, key: string): Promise<void> {
  const body = { apiVersion: "authorization.k8s.io/v1", kind: "SelfSubjectAccessReview", spec: { resourceAttributes } };
  try {
    answer.value = (await getJson(REVIEW, { method: "POST", body, repeatable: true })).status?.allowed === true;
  } catch {
    // Until it is known it counts as no.
    setTimeout(() => answers.get(key) === answer && void ask(resourceAttributes, answer, key), AGAIN_MS);
  }
}

export function useAllowed(question: Question): boolean {
  const { verb, kind, subresource, namespace, name } = question;
  return useMemo(() => allowed(question), [verb, kind, subresource, namespace, name]).value;
}
