defmodule DSPex.Native.AdapterParseTest do
  use ExUnit.Case, async: true

  alias DSPex.Native.Adapter.Chat
  alias DSPex.Native.Adapter.JSON
  alias DSPex.Native.Adapter.ParseError
  alias DSPex.Native.Adapter.PythonJson
  alias DSPex.Native.Adapter.Repair
  alias DSPex.Native.Adapter.XML
  alias DSPex.Native.Adapter.XmlReader
  alias DSPex.Native.PythonLiteral
  alias DSPex.Signature

  # Far above what is needed, far below what quadratic work would take.
  @bound_ms 60_000

  defp within(function) do
    {micros, result} = :timer.tc(function)
    assert div(micros, 1000) < @bound_ms
    result
  end

  @tag req: "FR3.2.4"
  test "the first of two sections counts, and text around them is dropped" do
    signature = Signature.parse!("q -> a, n: int")
    completion = "Sure!\n[[ ## a ## ]] one\ntwo\n[[ ## n ## ]]\n3\n[[ ## a ## ]]\nagain\n[[ ## completed ## ]]\nbye"
    assert Chat.parse(signature, completion) == {:ok, %{"a" => "one\ntwo", "n" => 3}}
  end

  @tag req: ["FR3.2.4", "NFR4.1.4"]
  test "errors say which field, why, and what was there" do
    signature = Signature.parse!("q -> a, n: int, o: Optional[int]")
    assert {:error, %ParseError{kind: :missing_fields, parsed: ["a", "o"]}} = Chat.parse(signature, "[[ ## a ## ]]\nx")

    assert {:error, %ParseError{kind: :field_value, field: "n"} = error} =
             Chat.parse(signature, "[[ ## a ## ]]\nx\n[[ ## n ## ]]\nfive")

    assert Exception.message(error) =~ "`n` does not fit: a whole number is expected, not 'five'"
    assert ParseError.to_error(error).reason == :lm_error
    refute inspect(error) =~ "five"
    assert {:error, %ParseError{kind: :not_an_object}} = JSON.parse(signature, "no object")
    assert {:error, %ParseError{kind: :xml_syntax}} = XML.parse(signature, "<a>x")
  end

  @tag req: "FR3.2.4"
  test "completions that are no text are refused" do
    signature = Signature.parse!("q -> a")

    for adapter <- [Chat, JSON, XML],
        bytes <- [<<0xFF>>, "[[ ## a ## ]]\n" <> <<0xC3>>, <<"{\"a\": \"", 0xED, 0xA0, 0x80, "\"}">>] do
      assert {:error, %ParseError{kind: :invalid_text}} = adapter.parse(signature, bytes)
    end
  end

  @tag req: "FR3.2.4"
  @tag timeout: 240_000
  test "completions of ten megabytes are read in bounded time" do
    signature = Signature.parse!("q -> a, n: int")
    line = "some words of a long answer &amp; more\n"
    text = String.duplicate(line, div(10_000_000, byte_size(line)))
    assert {:ok, %{"n" => 1}} = within(fn -> Chat.parse(signature, "[[ ## a ## ]]\n#{text}[[ ## n ## ]]\n1") end)
    json = ~s({"a": "#{String.replace(text, "\n", "\\n")}", "n": 1})
    assert {:ok, %{"n" => 1}} = within(fn -> JSON.parse(signature, json) end)
    assert {:ok, %{"n" => 1}} = within(fn -> XML.parse(signature, "<a>#{text}</a><n>1</n>") end)
    headers = String.duplicate("[[ ## a ## ]]\n", 500_000)
    assert {:error, %ParseError{kind: :missing_fields}} = within(fn -> Chat.parse(signature, headers) end)
  end

  @tag req: "FR3.2.4"
  @tag timeout: 240_000
  test "hostile completions end: braces, brackets, quotes, backslashes, tags, entities" do
    signature = Signature.parse!("q -> a: list[int]")
    # The bound of the work is reached by the long ones; all ways lead to the same repair.
    many = fn piece, size -> String.duplicate(piece, div(size, byte_size(piece))) end

    for piece <- [
          "{",
          "[",
          "(",
          "\"",
          "'",
          "\\",
          "{\"a\":",
          "[{",
          "}",
          "]",
          "“",
          "```json\n{",
          "a,",
          "{'a': \"b\", ",
          "#",
          "/*",
          "<a>",
          "&lt;"
        ] do
      text = many.(piece, 2_000)

      for adapter <- [Chat, JSON, XML],
          completion <- [many.(piece, 20_000), text, "[[ ## a ## ]]\n" <> text, "<a>#{text}</a>", "{\"a\": \"" <> text] do
        assert {:error, %ParseError{}} = within(fn -> adapter.parse(signature, completion) end)
      end
    end
  end

  @tag req: "FR3.2.4"
  test "JSON is repaired as json_repair does" do
    for {text, value} <- [
          {"{'a': True, b: None,}", {[{"a", true}, {"b", nil}]}},
          {"Here: {\"a\": 1} done", {[{"a", 1}]}},
          {"```json\n[1, 2,\n```", [1, 2]},
          {"{\"a\": \"she said \"hi\" to me\", \"n\": 2}", {[{"a", "she said \"hi\" to me"}, {"n", 2}]}},
          {"{\"a\": [1, {\"b\": \"c\"", {[{"a", [1, {[{"b", "c"}]}]}]}},
          {"{\"a\": 1, // one\n\"b\": 2 /* two */}", {[{"a", 1}, {"b", 2}]}},
          {"(1, 'x')", [1, "x"]},
          {"[{\"a\": 1 \"a\": 2}]", [{[{"a", 1}]}, {[{"a", 2}]}]},
          {"{\"a\": 1}\n{\"b\": 2}", [{[{"a", 1}]}, {[{"b", 2}]}]},
          {"{“a”: “b”}", {[{"a", "b"}]}},
          {"{1, 2}", [1, 2]},
          {"no JSON at all", ""}
        ] do
      assert {text, Repair.loads(text)} == {text, {:ok, value}}
    end
  end

  @tag req: "FR3.2.4"
  test "a broken text that is too long to repair here says that Python is needed" do
    signature = Signature.parse!("q -> a: dict[str, int]")
    long = "{" <> String.duplicate("\"a\": 1,, ", 100_000)
    assert {:error, %ParseError{kind: :needs_python} = error} = Chat.parse(signature, "[[ ## a ## ]]\n" <> long)
    assert Exception.message(error) =~ "only Python can repair it"
  end

  @tag req: "FR3.2.4"
  test "broken JSON of any kind never crashes the repair" do
    :rand.seed(:exsss, {7, 8, 9})
    pieces = ~w({ } [ ] \( \) " ' \\ : , “ ” ` ```json a b1 true null 1 -2.5e3 / // /* */ # . é \n)

    for _round <- 1..5000 do
      text = Enum.map_join(1..:rand.uniform(25), Enum.random(["", " "]), fn _index -> Enum.random(pieces) end)
      assert Repair.loads(text) == :unsure or match?({:ok, _value}, Repair.loads(text)), text
    end
  end

  @tag req: "FR3.2.4"
  test "JSON is read with Python's extras and bounds" do
    assert PythonJson.decode("[NaN, -Infinity, 1E400, -0.0, 123456789012345678901234567890]") ==
             {:ok, [:nan, :neg_infinity, :infinity, -0.0, 123_456_789_012_345_678_901_234_567_890]}

    assert PythonJson.decode(~S("\ud83d\ude00\ud800x")) == {:ok, "😀\uFFFDx"}

    for bad <- ["01", "1.", ".5", "+1", "[1,]", "{\"a\" 1}", "\"\n\"", "tru", "", "1 2", String.duplicate("[", 100_000)],
        do: assert(PythonJson.decode(bad) == :error)

    assert PythonJson.decode(String.duplicate("1", 5000)) == :error
  end

  @tag req: "FR3.2.4"
  test "literals are read, and nothing else" do
    for {text, value} <- [
          {"1, 2", {:tuple, [1, 2]}},
          {"(1,)", {:tuple, [1]}},
          {"{1, 1}", {:set, [1]}},
          {"set()", {:set, []}},
          {"-0x10", -16},
          {"'a' \"b\"", "ab"},
          {"[None, {'k': b'v'}]", [nil, {[{"k", {:bytes, "v"}}]}]}
        ],
        do: assert(PythonLiteral.eval(text) == {:ok, value})

    for bad <- [
          "open('x')",
          "a",
          "1 + 2",
          "[x for x in y]",
          "__import__('os')",
          "[1",
          "{1: }",
          "-'a'",
          "f'x'",
          String.duplicate("[", 1000),
          "lambda: 1",
          ""
        ],
        do: assert({bad, PythonLiteral.eval(bad)} == {bad, :error})
  end

  @tag req: "FR3.2.4"
  test "XML is read strictly, and no entity or document type is followed" do
    for bad <- [
          "<a>",
          "<a></b>",
          "<a x=1/>",
          "<a x='1' x='2'/>",
          "<a>&nope;</a>",
          "<!DOCTYPE a [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><a>&e;</a>",
          "<a><![CDATA[x</a>",
          "<a>]]></a>",
          "<a>\x01</a>",
          "<p:a/>",
          "<a xmlns:p=''><p:b/></a>",
          "<a b='<'/>",
          "<!-- a -- b --><a/>",
          "</dspy_root>",
          "<a>&#0;</a>",
          String.duplicate("<a>", 5000) <> String.duplicate("</a>", 5000)
        ] do
      assert {bad, XmlReader.read(bad)} == {bad, :error}
    end

    assert {:ok, [%{tag: "{urn:x}a", text: "<&é\n", children: []}]} =
             XmlReader.read("t<p:a xmlns:p='urn:x'><![CDATA[<&]]>&#233;<!-- c -->\r\n</p:a>t")

    assert {:ok, [element]} = XmlReader.read("<a k='&quot;'><b/>t&gt;</a>")
    assert XmlReader.to_text(element) == "<a k=\"&quot;\"><b />t&gt;</a>"
  end

  @tag req: ["FR3.2.4", "OWN-9"]
  test "no completion becomes an atom" do
    signature = Signature.parse!("q -> a: dict[str, Any]")

    names = for part <- ~w(header key tag attribute), do: "#{part}_#{System.unique_integer([:positive])}"
    [header, key, tag, attribute] = names
    chat = "[[ ## #{header} ## ]]\n[[ ## a ## ]]\n{'#{key}': 1}"
    assert {:ok, %{"a" => %{^key => 1}}} = Chat.parse(signature, chat)
    assert {:ok, %{"a" => %{^tag => "1"}}} = XML.parse(signature, "<a><#{tag} #{attribute}='1'>1</#{tag}></a>")
    for name <- names, do: assert_raise(ArgumentError, fn -> String.to_existing_atom(name) end)
  end

  @tag req: ["FR3.2.4", "OWN-7"]
  test "what an adapter writes as an answer it reads back" do
    signature =
      Signature.parse!(
        "q -> a, n: int, f: float, b: bool, l: list[dict[str, int]], o: Optional[str], t: tuple[int, str]"
      )

    values = %{
      "a" => "x < y & z",
      "n" => 3,
      "f" => 0.5,
      "b" => true,
      "l" => [%{"k" => 1}],
      "o" => "none",
      "t" => {1, "u"}
    }

    for adapter <- [Chat, JSON, XML] do
      [_system, _user, %{"role" => "assistant", "content" => content}, _request] =
        adapter.format(signature, [Map.put(values, "q", "?")], q: "?")

      assert adapter.parse(signature, content) == {:ok, values}
    end
  end
end
