// Changes: a form, the curl line that does the same, a dry run, and what came of it.

import { call, curl } from "./api.js";
import { append, command, fill, h, problem, toast } from "./dom.js";
import { finder } from "./table.js";

/** Opens a dialog; it goes away when it is closed, and whoever opened it has the keyboard again. */
export function open(title, ...content) {
  const before = document.activeElement;
  const find = finder(before);
  const dialog = h("dialog", { "aria-label": title, "data-testid": "dialog" }, h("h2", null, title), content);
  dialog.addEventListener("close", () => {
    dialog.remove();
    // What it was opened from may be gone, as a row with its button is, or drawn anew.
    const places = [before?.isConnected ? before : find?.(), document.getElementById("main")];
    places.find((one) => {
      one?.focus({ preventScroll: true });
      return document.activeElement === one;
    });
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** A field of a form, and what it says. */
export function field(spec, changed) {
  const common = { name: spec.name, oninput: changed, onchange: changed, required: spec.required, "data-testid": `field-${spec.name}` };
  let input;
  if (spec.options) {
    const options = spec.options.map((one) => (Array.isArray(one) ? one : [one, one]));
    input = h("select", common, options.map(([value, text]) => h("option", { value, selected: String(value) === String(spec.value ?? "") }, text)));
  } else if (spec.type === "area") {
    input = h("textarea", { ...common, rows: spec.rows ?? 4, value: spec.value ?? "", placeholder: spec.placeholder, spellcheck: "false" });
  } else if (spec.type === "check") {
    input = h("input", { ...common, type: "checkbox", checked: Boolean(spec.value) });
  } else {
    input = h("input", {
      ...common,
      type: spec.type ?? "text",
      value: spec.value ?? "",
      placeholder: spec.placeholder,
      min: spec.min,
      max: spec.max,
      step: spec.step,
      pattern: spec.pattern,
      list: spec.list,
      autocomplete: "off",
      spellcheck: "false",
    });
  }
  const help = spec.help ? h("span", { class: "help" }, spec.help) : null;
  const label = spec.type === "check" ? h("label", { class: "line" }, input, spec.label, help) : h("label", null, spec.label, input, help);
  const read = () => {
    if (spec.type === "check") return input.checked;
    // What is no number or no date has no value in the browser: that must not pass for an empty field.
    return input.validity.badInput ? "what cannot be read" : input.value;
  };
  return { label, input, read };
}

/**
 * Something that changes the broker.
 * @param {{title: string, text?: any, fields?: object[], request: (values: object) => object, button?: string,
 *   danger?: boolean, dryRun?: boolean, confirm?: string, preview?: (result: any) => Node,
 *   done?: (result: any, values: object) => any}} spec `request` may throw what is wrong with the values
 */
export function action(spec) {
  const line = h("div", null);
  const outcome = h("div", { "aria-live": "polite" });
  const fields = (spec.fields ?? []).map((one) => ({ name: one.name, when: one.when, ...field(one, () => update()) }));
  const values = () => Object.fromEntries(fields.map((one) => [one.name, one.read()]));
  const sure = spec.confirm ? field({ name: "confirm", label: `Type ${spec.confirm} to go on` }, () => update()) : null;
  const go = h("button", { type: "submit", class: spec.danger ? "danger" : "first", "data-testid": "do" }, spec.button ?? spec.title);
  const dry = h("button", { type: "button", "data-testid": "dry-run", onclick: () => run(true) }, "Dry run");
  let busy = false;
  const dialog = open(
    spec.title,
    h(
      "form",
      {
        // The broker says what is wrong, in one place for all.
        novalidate: true,
        onsubmit: (event) => {
          event.preventDefault();
          run(false);
        },
      },
      spec.text ? h("div", null, spec.text) : null,
      h("div", { class: "fields" }, fields.map((one) => one.label), sure?.label),
      outcome,
      line,
      h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), spec.dryRun === false ? null : dry, go),
    ),
  );

  function update() {
    const now = values();
    fields.forEach((one) => {
      if (one.when) one.label.hidden = !one.when(now);
    });
    let request = null;
    try {
      request = spec.request(now);
      fill(line, command(curl(request), "curl"));
    } catch (error) {
      fill(line, h("p", { class: "soft" }, error.message));
    }
    go.disabled = busy || request === null || (sure !== null && sure.read() !== spec.confirm);
    dry.disabled = busy || request === null;
  }

  // Whoever types on while an answer is waited for does not ask again.
  async function run(isDry) {
    if (busy) return;
    busy = true;
    go.disabled = true;
    dry.disabled = true;
    try {
      const request = spec.request(values());
      if (isDry) request.query = { ...request.query, dry_run: true };
      const result = await call(request);
      if (isDry) {
        fill(outcome, h("div", { class: "note good", "data-testid": "dry-result" }, "It would be done; nothing has been changed."), spec.preview?.(result));
        return;
      }
      dialog.close();
      toast((await spec.done?.(result, values())) ?? "done");
    } catch (error) {
      fill(outcome, problem(error));
    } finally {
      busy = false;
      update();
    }
  }

  update();
  (fields[0]?.input ?? sure?.input ?? go).focus();
  return dialog;
}

/** Asks whether something is to go for good. */
export function askToDelete({ name, path, text, then, told }) {
  action({
    title: `Delete ${name}`,
    button: "Delete it",
    danger: true,
    confirm: name,
    text: h("p", null, text),
    request: () => ({ method: "DELETE", path }),
    done: () => {
      location.hash = then;
      return told;
    },
  });
}

/** Asks for a token. */
export function askToken(detail) {
  return new Promise((resolve) => {
    const wrong = h("div", null);
    if (detail) append(wrong, h("div", { class: "note bad", role: "alert" }, detail));
    const input = h("input", { type: "password", autocomplete: "current-password", required: true, "data-testid": "token", name: "token" });
    let given = null;
    const dialog = open(
      "Sign in",
      h("p", null, "This broker wants a token, as it stands in tidewheel.admin.tokens.file. It is kept until this tab is closed."),
      wrong,
      h(
        "form",
        {
          method: "dialog",
          onsubmit: () => {
            given = input.value.trim();
          },
        },
        h("div", { class: "fields" }, h("label", null, "Token", input)),
        h("div", { class: "buttons" }, h("button", { type: "button", onclick: () => dialog.close() }, "Cancel"), h("button", { type: "submit", class: "first" }, "Sign in")),
      ),
    );
    dialog.addEventListener("close", () => resolve(given));
  });
}
