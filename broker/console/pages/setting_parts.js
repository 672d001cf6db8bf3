// A setting: where its value comes from, and what it does.

import { action } from "../dialogs.js";
import { badge, facts, h } from "../dom.js";
import { setting } from "../format.js";

const SOURCES = {
  DYNAMIC_TOPIC_CONFIG: ["this topic", "good"],
  DYNAMIC_BROKER_CONFIG: ["set while it runs", "warn"],
  DYNAMIC_DEFAULT_BROKER_CONFIG: ["set while it runs", "warn"],
  STATIC_BROKER_CONFIG: ["the configuration", "warn"],
  DEFAULT_CONFIG: ["the default", ""],
};

/** Where a value comes from, in words. */
export function sourceBadge(one) {
  const [text, kind] = SOURCES[one.source] ?? [one.source, ""];
  return [badge(text, kind), " ", h("span", { class: "soft mono" }, originOf(one))];
}

/** `server.toml:12`, or the variable. */
export function originOf(one) {
  const { origin } = one;
  if (!origin) return "";
  const place = origin.line ? `:${origin.line}` : "";
  return `${origin.name ?? origin.kind}${place}`;
}

/** Everything that is known of it. */
export function settingDetail(one, schema, more) {
  const bounds = schema && (schema.minimum !== null || schema.maximum !== null) ? `${schema.minimum ?? "…"} to ${schema.maximum ?? "…"}` : null;
  return h(
    "div",
    null,
    h("p", null, one.documentation),
    facts([
      ["Type", `${one.type}${schema?.unit ? `, in ${schema.unit}` : ""}`],
      ["Default", setting(one.name, one.default)],
      ["One of", schema?.enum_values?.join(", ")],
      ["Bounds", bounds],
      ["Variable", schema?.environment],
      ["Acts", schema ? (schema.needs_restart ? "after a restart" : "at once") : null],
      ["What counts, in this order", one.synonyms?.length ? one.synonyms.map((synonym) => `${synonym.name}=${synonym.value ?? "hidden"} (${synonym.source})`).join("; ") : null],
    ]),
    more,
  );
}

/** Changes a setting of a topic, or of the broker. */
export function changeSetting(path, one, schema, done) {
  const options = schema?.enum_values?.length && schema.type !== "LIST" ? schema.enum_values : one.type === "BOOLEAN" ? ["true", "false"] : null;
  const known = (bound) => bound !== null && bound !== undefined;
  const limits = [schema?.unit ? `in ${schema.unit}` : "", known(schema?.minimum) ? `from ${schema.minimum}` : "", known(schema?.maximum) ? `to ${schema.maximum}` : ""];
  action({
    title: `Change ${one.name}`,
    button: "Change it",
    text: h("p", null, one.documentation),
    fields: [{ name: "value", label: "Value", value: one.value ?? "", options, help: limits.filter(Boolean).join(" ") || null }],
    request: (values) => ({ method: "PATCH", path, body: { [one.name]: values.value } }),
    done: () => {
      done();
      return `${one.name} is changed`;
    },
  });
}

/** Sets one back to what it is without. */
export function resetSetting(path, one, whom, done) {
  action({
    title: `Set ${one.name} back`,
    button: "Set it back",
    text: h("p", null, `It follows ${whom} again.`),
    request: () => ({ method: "PATCH", path, body: { [one.name]: null } }),
    done: () => {
      done();
      return `${one.name} follows ${whom}`;
    },
  });
}
