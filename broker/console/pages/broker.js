// What several pages ask about the broker, once.

import { call } from "../api.js";

let info = null;

/** `/v1/info`, remembered for a while. */
export async function brokerInfo() {
  const old = info;
  if (old && Date.now() - old.at < 30_000) return old.value;
  const value = await call({ path: "/v1/info" });
  info = { at: Date.now(), value };
  return value;
}

/** `HOST:PORT` for the clients of commands. */
export async function bootstrap() {
  try {
    const told = await brokerInfo();
    const first = told.advertised_listeners?.[0] ?? told.listeners?.[0] ?? "";
    return first.replace(/^[A-Z_0-9]+:\/\//, "") || "127.0.0.1:9092";
  } catch {
    return "127.0.0.1:9092";
  }
}
