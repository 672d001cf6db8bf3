// What this broker's API offers: pages show no button for what is not there.

import { call } from "./api.js";

let asked = null;

/** Whether there is such an operation, as the API's own document says. */
export async function offers(method, path) {
  asked ??= call({ path: "/openapi.json" }).catch((error) => {
    asked = null;
    throw error;
  });
  try {
    return Boolean((await asked).paths?.[path]?.[method.toLowerCase()]);
  } catch {
    return false;
  }
}
