// No content type, shapes in the query and in a header, other methods, a backend that does not exist and a way around it.
import { base, show } from './call.mjs';

const json = (path, options) => fetch(`${base}${path}`, options).then(r => r.json());
const shape = encodeURIComponent(JSON.stringify([{ isle: 'string', km2: 0.0 }]));
const listed = await json(`/isles?shape=${shape}&count=3&backend=generator`);
const headed = await json('/isles/7', { method: 'PUT', headers: { 'X-Response-Shape': '{"saved":true}' } });
const typeless = await json('/isles', { method: 'POST', body: JSON.stringify({ shape: { isle: 'string' } }) });
const gone = await fetch(`${base}/isles/7`, { method: 'DELETE' });
const free = await json('/isles', { method: 'POST', body: JSON.stringify({ count: 2 }) });
const lost = await fetch(`${base}/isles`, { method: 'POST', headers: { 'X-LLM-Backend': 'nobody' }, body: '{}' });
const refused = { status: lost.status, ...(await lost.json()) };
const head = await fetch(`${base}/isles`, { method: 'HEAD' });
show({ listed, headed, typeless, gone: gone.status, free, refused, head: head.status });
