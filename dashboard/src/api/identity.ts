// Asks the API server who the caller is: with the token that was pasted, or by the connection alone.

import { getJson, words } from "./client.ts";
import { ApiError } from "./error.ts";
import { keep, notice, token, user, type User } from "./session.ts";

const REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const ANONYMOUS = "system:anonymous";

async function whoAmI(): Promise<User | null> {
  const body = { apiVersion: "authentication.k8s.io/v1", kind: "SelfSubjectReview" };
  const review = await getJson(REVIEW, { method: "POST", body, probing: true, repeatable: true });
  const info = review.status?.userInfo ?? {};
  return !info.username || info.username === ANONYMOUS ? null : { username: info.username, groups: info.groups ?? [] };
}

/** Finds out at the start whether somebody is signed in already. */
export async function recognise(): Promise<void> {
  try {
    user.value = await whoAmI();
  } catch (error) {
    const refused = error instanceof ApiError && (error.code === 401 || error.code === 403);
    if (!refused) notice.value = words(error);
    else if (token.peek()) notice.value = "The token is no longer accepted. Sign in again.";
    user.value = null;
  }
  if (user.peek() === null) keep("");
}

/** Signs in. Throws what a person can read. */
export async function signIn(text: string): Promise<void> {
  const value = text.trim();
  if (/\s/.test(value)) throw new Error("A token has no spaces or line breaks: paste it alone.");
  keep(value);
  try {
    const found = await whoAmI();
    if (!found) throw new Error("The API server does not know this token.");
    notice.value = "";
    user.value = found;
  } catch (error) {
    keep("");
    if (error instanceof ApiError && error.code === 401) {
      throw new Error("The API server does not accept this token. It may be mistyped, or may have ended.");
    }
    throw new Error(words(error));
  }
}
