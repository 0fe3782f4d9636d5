// What every snippet shares: the base URL, and one POST the way web pages do it.
export const base = `${process.env.MORPHOGEN_URL}/api/mock`;

export const post = (path, backend, body) =>
  fetch(`${base}${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', ...(backend ? { 'X-LLM-Backend': backend } : {}) },
    body: JSON.stringify(body)
  }).then(r => r.json());

export const show = value => console.log(JSON.stringify(value));
