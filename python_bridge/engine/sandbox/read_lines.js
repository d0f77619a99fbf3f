// The one function that DSPy's sandbox runner takes from a module on deno.land: lines of a Deno reader, as text.
export async function* readLines(reader) {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(65536);
  let rest = "";
  for (let size = await reader.read(chunk); size !== null; size = await reader.read(chunk)) {
    const lines = (rest + decoder.decode(chunk.subarray(0, size), { stream: true })).split("\n");
    rest = lines.pop();
    yield* lines.map((line) => line.replace(/\r$/, ""));
  }
  if (rest) yield rest;
}
