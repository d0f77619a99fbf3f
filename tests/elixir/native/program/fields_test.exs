defmodule DSPex.Native.Program.FieldsTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Adapter
  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Program.Fields
  alias DSPex.Native.Program.JsonFields
  alias DSPex.Native.Program.XmlFields
  alias DSPex.Signature

  doctest DSPex.Native.Program.JsonFields
  doctest DSPex.Native.Program.XmlFields

  @vectors Path.expand("../../../vectors/field_streams.json", __DIR__)

  defp run("json", _fields, pieces), do: run(JsonFields, JsonFields.new(), pieces)
  defp run("xml", fields, pieces), do: run(XmlFields, XmlFields.new(fields), pieces)

  defp run(module, state, pieces) when is_atom(module) do
    {tokens, state} = Enum.map_reduce(pieces, state, &module.feed(&2, &1))
    {tokens, module.finish(state)}
  end

  # JSON streams hand on every member; the fields that count are chosen behind them.
  defp only(tokens, fields), do: for({name, text, last?} <- tokens, name in fields, do: [name, text, last?])

  @tag req: ["FR1.3.3", "OWN-4", "OWN-7"]
  test "answers of the JSON and XML adapters stream as Python streams them, piece by piece" do
    {:ok, {file}} = @vectors |> File.read!() |> PythonJson.decode()
    cases = for {pairs} <- Map.new(file)["cases"], do: Map.new(pairs)
    assert length(cases) == 60

    for %{"adapter" => adapter, "fields" => fields, "pieces" => pieces} = vector <- cases do
      {tokens, finish} = run(adapter, fields, pieces)
      assert {pieces, Enum.map(tokens, &only(&1, fields))} == {pieces, vector["tokens"]}
      assert {pieces, only(finish, fields)} == {pieces, vector["finish"]}
    end
  end

  defp text(answer, adapter, signature, size) do
    {:ok, outputs} = module(adapter).parse(signature, answer)
    test = self()
    ref = make_ref()
    state = Fields.start(adapter, signature, &send(test, {ref, &1}))
    for piece <- chunks(answer, size), do: Fields.feed(state, piece)
    Fields.finish(state, outputs)
    {outputs, collect(ref, [])}
  end

  defp module(:json), do: Adapter.JSON
  defp module(:xml), do: Adapter.XML

  defp chunks(answer, size), do: answer |> String.codepoints() |> Enum.chunk_every(size) |> Enum.map(&Enum.join/1)

  defp collect(ref, done) do
    receive do
      {^ref, token} -> collect(ref, [token | done])
    after
      0 -> Enum.reverse(done)
    end
  end

  @tag req: ["FR1.3.3", "OWN-4"]
  test "however an answer is cut, each field gets the text that the adapter reads, and one last token" do
    signature = Signature.parse!("q -> first, second")

    for {adapter, answer} <- [
          json:
            ~S(Here: {"first": "a \"b\" \u00e9 \ud83d\ude00", "other": [1, "}"], "second": "c\nd", "first": "e"} done),
          xml: "So <i>x</i>\n<first>\n a &lt; b &amp; c\n</first><second>d</sec ond> e</second> bye"
        ],
        size <- [1, 2, 3, 7, 1000],
        {:ok, _read} <- [module(adapter).parse(signature, answer)] do
      {outputs, tokens} = text(answer, adapter, signature, size)

      for name <- ["second"],
          do: assert(tokens |> Enum.filter(&(&1.field == name)) |> Enum.map_join(& &1.text) == outputs[name])

      assert Enum.count(tokens, & &1.last?) == 2
      if size == 1, do: assert(length(tokens) > 10)
    end
  end

  test "a field that no piece showed is handed on whole at the end" do
    signature = Signature.parse!("q -> first, second: list[int]")
    test = self()
    state = Fields.start(:json, signature, &send(test, &1))
    Fields.feed(state, ~S({"first": "x"))
    Fields.finish(state, %{"first" => "x", "second" => [1]})
    assert_received %{field: "first", text: "x", last?: true}
    assert_received %{field: "second", text: "[1]", last?: true}
  end
end
