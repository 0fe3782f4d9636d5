// OpenAI's protocol with nothing but fetch: one whole answer, one stream read piece by piece.
import { show } from './call.mjs';

const ask = body =>
  fetch(`${process.env.MORPHOGEN_URL}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: 'Bearer anything' },
    body: JSON.stringify({ model: 'auto', messages: [{ role: 'user', content: 'Name a river and say why it matters.' }], ...body })
  });
const whole = await (await ask({})).json();
const reply = await ask({ stream: true, stream_options: { include_usage: true } });
let text = '';
let usage = null;
let done = false;
let buffered = '';
const decoder = new TextDecoder();
for await (const piece of reply.body) {
  buffered += decoder.decode(piece, { stream: true });
  const blocks = buffered.split('\n\n');
  buffered = blocks.pop();
  for (const block of blocks) {
    const data = block.replace(/^data: /, '');
    if (data === '[DONE]') { done = true; continue; }
    const chunk = JSON.parse(data);
    text += chunk.choices[0]?.delta?.content ?? '';
    usage = chunk.usage ?? usage;
  }
}
show({ whole, text, usage, done, type: reply.headers.get('content-type') });
