/* Forms that send a request and show the response. */
{
  const MAX_BYTES = 20000;

  const element = (name, className, text) => {
    const made = document.createElement(name);
    made.className = className;
    made.textContent = text;
    return made;
  };

  /* The request that the fields of a form describe. */
  const requestOf = (form) => {
    const query = [];
    const headers = {};
    let path = form.dataset.path;
    for (const control of form.querySelectorAll("[data-in]")) {
      const isFlag = control.type === "checkbox";
      const value = isFlag ? "" : control.value.trim();
      if (control.dataset.in === "path") {
        path = path.replace(`{${control.name}}`, encodeURIComponent(value));
      } else if (isFlag ? !control.checked : value === "") {
        continue;
      } else if (control.dataset.in === "query") {
        query.push(isFlag ? control.name : `${control.name}=${encodeURIComponent(value)}`);
      } else {
        headers[control.name] = value;
      }
    }
    const target = [path.slice(1), ...(query.length ? [query.join("&")] : [])].join("?");
    return { url: new URL(`./${target}`, document.baseURI), headers };
  };

  const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

  const commandOf = ({ url, headers }) => {
    const fields = Object.entries(headers).map(([name, value]) => quoted(`${name}: ${value}`));
    return ["curl -i", ...fields.map((field) => `-H ${field}`), quoted(url.href)].join(" ");
  };

  /* At most MAX_BYTES of a body; the rest is not downloaded. */
  const beginningOf = async (response) => {
    const reader = response.body?.getReader();
    const parts = [];
    let size = 0;
    while (reader && size <= MAX_BYTES) {
      const { done, value } = await reader.read();
      if (done) {
        break;
      }
      parts.push(value);
      size += value.length;
    }
    const isCut = size > MAX_BYTES;
    if (isCut) {
      reader.cancel();
    }
    const bytes = new Uint8Array(await new Blob(parts).arrayBuffer()).subarray(0, MAX_BYTES);
    return { bytes, isCut };
  };

  const textOf = (bytes, type) => {
    if (type.startsWith("application/octet-stream")) {
      return Array.from(bytes.subarray(0, 512), (byte) => byte.toString(16).padStart(2, "0")).join(" ");
    }
    return new TextDecoder().decode(bytes);
  };

  const show = async (form, reply) => {
    const { url, headers } = requestOf(form);
    const began = performance.now();
    const response = await fetch(url, { headers, cache: "no-store" });
    const milliseconds = Math.round(performance.now() - began);
    const { bytes, isCut } = await beginningOf(response);
    const fields = [...response.headers].map((field) => field.join(": ")).join("\n");
    const total = Number(response.headers.get("Content-Length") ?? 0);
    const header = document.createElement("details");
    header.append(element("summary", "", "Headers"), element("pre", "", fields));
    reply.dataset.isError = response.status >= 400;
    reply.replaceChildren(
      element("p", "outcome", `${response.status} ${response.statusText} in ${milliseconds} ms`),
      header,
    );
    if (bytes.length) {
      const body = element("pre", "body", textOf(bytes, response.headers.get("Content-Type") ?? ""));
      body.tabIndex = 0;
      reply.append(body);
    }
    if (isCut) {
      const size = total ? ` of ${total.toLocaleString("en")}` : "";
      reply.append(element("p", "quiet", `The first ${MAX_BYTES.toLocaleString("en")}${size} bytes.`));
    }
  };

  for (const form of document.querySelectorAll("form.try")) {
    const reply = form.querySelector(".reply");
    const button = form.querySelector("button");
    const describe = () => {
      form.querySelector(".command").textContent = commandOf(requestOf(form));
    };
    form.hidden = false;
    form.addEventListener("input", describe);
    describe();
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      button.disabled = true;
      try {
        await show(form, reply);
      } catch (error) {
        reply.dataset.isError = true;
        reply.replaceChildren(element("p", "outcome", `No response: ${error.message}`));
      }
      button.disabled = false;
    });
  }
}
