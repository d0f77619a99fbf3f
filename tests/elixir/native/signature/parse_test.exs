defmodule DSPex.Native.SignatureParseTest do
  use ExUnit.Case, async: true

  alias DSPex.Signature
  alias DSPex.SignatureError

  defp error(text, options \\ []) do
    assert {:error, %SignatureError{} = error} = Signature.parse(text, options)
    error
  end

  defp carets(error), do: error |> Exception.message() |> String.split("\n") |> Enum.at(3)

  @tag req: ["FR1.2.1", "FR3.1.1", "NFR4.1.4"]
  test "an error shows the text with carets under the place and what to write" do
    error = error("question -> answer: strng, score: float")
    assert Exception.message(error) =~ "    question -> answer: strng, score: float\n                        ^^^^^\n"
    assert error.suggestion == "Did you mean `str`?"
    assert binary_part(error.text, error.offset, error.length) == "strng"
  end

  @tag req: ["FR3.1.1", "NFR4.1.4"]
  test "carets stand right after wide letters, tabs and in the second line" do
    assert carets(error("città, x: nope -> y")) == String.duplicate(" ", 4 + 10) <> "^^^^"
    assert carets(error("a,\n\tb: nope -> c")) == "    \t   ^^^^"
  end

  @tag req: "FR3.1.1"
  test "words of other languages are told the name they have here" do
    for {wrong, right} <- [
          {"string", "str"},
          {"integer", "int"},
          {"Image", "dspy.Image"},
          {"datetime", "datetime.datetime"}
        ] do
      assert error("a: #{wrong} -> b").suggestion == "Did you mean `#{right}`?"
    end
  end

  @tag req: ["FR1.2.1", "OWN-9"]
  test "what Python would drop or import is refused" do
    for text <- [
          "x = 1 -> y",
          "*args -> y",
          "x, x -> y",
          "x -> y, *rest",
          "x: os.path -> y",
          "x): import os\n#  -> y",
          "x: __import__('os') -> y",
          "_x -> y",
          "fields -> y",
          "x: list[int, str] -> y",
          "x: pathlib.Path -> y",
          "class -> y"
        ] do
      assert carets(error(text)) =~ "^", text
    end
  end

  @tag req: "FR3.1.1"
  test "alternatives, bare containers and None keep the order and form that DSPy gives them" do
    type = fn text -> hd(Signature.parse!("x -> y: " <> text).outputs).type end
    assert type.("NoneType | bool | set") == {:union, [:bool, :none, :set]}
    assert type.("None | str") == {:union, [:none, :str]}
    assert type.("Union[int, Union[str, None], int]") == {:union, [:int, :str, :none]}
    assert type.("dict[str, List]") == {:dict, [:str, {:bare, {:list, []}}]}
    assert type.("list[None]") == {:list, [:none_value]}
    assert error("x -> y: List").reason =~ "no type by itself"
    assert error("x -> y: Annotated[int, Field(gt=0.5)]").reason =~ "cannot limit"
    assert error("x -> y: DefaultDict[str, bytes]").reason =~ "default"
  end

  @tag req: "FR3.1.1"
  test "an arrow is asked for exactly once" do
    assert error("question").reason =~ "needs one `->`"
    assert error("a -> b -> c").offset == 7
  end

  @tag req: ["FR3.1.1", "OWN-9"]
  test "no text becomes an atom" do
    names = for part <- ~w(input type output value), do: "#{part}_#{System.unique_integer([:positive])}"
    [input, type, output, value] = names
    assert {:ok, _signature} = Signature.parse("#{input} -> #{output}: Literal['#{value}']")
    assert {:error, _error} = Signature.parse("a: #{type} -> b")
    for name <- names, do: assert_raise(ArgumentError, fn -> String.to_existing_atom(name) end)
  end

  @tag req: "FR3.1.1"
  test "nesting and length are bounded" do
    deep = "x -> y: " <> String.duplicate("list[", 5000) <> "int" <> String.duplicate("]", 5000)
    assert error(deep).reason =~ "nested deeper"
    assert error("x -> y: " <> String.duplicate("(", 20_000)).reason =~ "nested deeper"
    assert error("x -> " <> String.duplicate("y", 100_000)).reason =~ "at most 65536 bytes"
    fields = Enum.map_join(1..3000, ", ", &"field#{&1}: int")
    assert {:ok, signature} = Signature.parse("x -> " <> fields)
    assert length(signature.outputs) == 3000
  end

  @tag req: "FR3.1.1"
  test "bytes that are no text are an error, not a crash" do
    assert error(<<"x -> ", 0xFF, 0xFE>>).reason =~ "UTF-8"
    assert error("x\0 -> y").reason =~ "zero byte"
    assert Exception.message(error(<<0xC3>>)) =~ "UTF-8"
  end

  @tag req: "FR3.1.1"
  test "random bytes give a signature or an error that points into the text" do
    :rand.seed(:exsss, {1, 2, 3})
    alphabet = ~w(a b -> : , [ ] \( \) | ' " \\ int list Literal Optional Field . = 1 2.5 None é \n # * + - { })

    for _round <- 1..3000 do
      text = Enum.map_join(1..:rand.uniform(14), Enum.random(["", " "]), fn _index -> Enum.random(alphabet) end)

      case Signature.parse(text) do
        {:ok, signature} -> assert Signature.parse!(Signature.to_string(signature)).outputs == signature.outputs
        {:error, error} -> assert error.offset + error.length <= byte_size(text) + 1 and Exception.message(error) =~ "^"
      end
    end
  end

  @tag req: ["FR3.1.1", "FR1.2.4"]
  test "every signature that is written as text reads back as the same" do
    :rand.seed(:exsss, {4, 5, 6})

    for _round <- 1..500 do
      fields = for index <- 1..3, do: "f#{index}: #{random_type(3)}"
      text = "in_a, in_b: #{random_type(2)} -> " <> Enum.join(fields, ", ")
      signature = Signature.parse!(text)
      back = signature |> Signature.to_string() |> Signature.parse!()
      assert {back.inputs, back.outputs} == {signature.inputs, signature.outputs}, text
    end
  end

  defp random_type(0),
    do: Enum.random(~w(int str float bool Any bytes dict list datetime.date uuid.UUID dspy.Image None))

  defp random_type(depth) do
    inner = fn -> random_type(depth - 1) end

    case :rand.uniform(9) do
      1 -> "list[#{inner.()}]"
      2 -> "dict[str, #{inner.()}]"
      3 -> "tuple[#{inner.()}, ...]"
      4 -> "Optional[#{inner.()}]"
      5 -> "#{random_type(0) |> String.replace("None", "int")} | #{inner.()}"
      6 -> ~S|Literal['a', "it's", 'x->y'.strip, 3, True, None, 1.5, b'z']| |> String.replace("'x->y'.strip", "'é\\n'")
      7 -> "Annotated[int, Field(ge=0, le=10)]"
      8 -> "Sequence[#{inner.()}]"
      9 -> random_type(0) |> String.replace("None", "str")
    end
  end

  @tag req: ["FR1.2.3", "FR3.1.4"]
  test "types registered as JSON Schema resolve, keep their names and print back" do
    types = %{
      "Person" => %{"type" => "object", "properties" => %{"age" => %{"type" => "integer"}}, "required" => ["age"]},
      "Color" => %{"enum" => ["red", "green"]}
    }

    signature = Signature.parse!("text -> who: list[Person], color: Optional[Color]", types: types)
    assert Signature.to_string(signature) == "text -> who: list[Person], color: Optional[Color]"
    assert error("text -> who: Persn", types: types).suggestion == "Did you mean `Person`?"

    assert {:ok, %{"who" => [%{"age" => 3}], "color" => "red"}} =
             Signature.validate_outputs(signature, %{who: [%{age: "3"}], color: "red"})
  end

  @tag req: "FR3.1.2"
  test "a compiled signature is found again, and the cache stays within its bound" do
    text = "cached_#{System.unique_integer([:positive])} -> answer"
    {:ok, first} = Signature.compile(text)
    assert {:ok, ^first} = Signature.compile(text)
    assert {:error, %SignatureError{}} = Signature.compile("no arrow")
    for index <- 1..600, do: {:ok, _signature} = Signature.compile("q#{index} -> a")
    assert %{capacity: 512, size: 512} = DSPex.Native.Signature.Cache.info(:signature)
    assert {:ok, %Signature{}} = Signature.compile("q600 -> a")
  end

  @tag req: "FR3.1.4"
  test "fields tell names, roles, types, prefixes and descriptions" do
    [question, score] = "userQuestion2 -> score: float" |> Signature.parse!() |> Signature.fields()
    assert {question.prefix, question.desc, question.typed?} == {"User Question 2:", "${userQuestion2}", false}
    assert {score.role, score.type, score.typed?} == {:output, :float, true}
  end

  @tag req: "FR3.1.4"
  test "fields as data make the same signature as text" do
    fields = [
      %{"name" => "q", "role" => "input", "desc" => "a question"},
      %{"name" => "n", "role" => "output", "type" => "int", "constraints" => %{"ge" => 0}}
    ]

    assert {:ok, signature} = Signature.new(fields, instructions: "  Count.\n    Well.")
    assert signature.instructions == "Count.\nWell."
    assert Signature.to_string(signature) == "q -> n: Annotated[int, Field(ge=0)]"
    assert {:error, %{field: "n"}} = Signature.new(fields ++ [%{"name" => "n", "role" => "input"}])
    assert {:error, %{field: "x"}} = Signature.new([%{"name" => "x", "role" => "input", "type" => "nope"}])
    assert {:error, %{reason: reason}} = Signature.new([%{"name" => "a b", "role" => "input"}])
    assert reason =~ "not expected"
  end

  @tag req: "FR3.1.4"
  test "the JSON Schema of a signature names inputs, outputs and definitions" do
    types = %{"Color" => %{"enum" => ["red"]}}
    signature = Signature.parse!("q -> n: Annotated[int, Field(ge=0)], c: list[Color], t: dspy.Tool", types: types)
    schema = signature |> Signature.to_json_schema() |> DSPex.Ordered.to_map(deep: true)
    outputs = schema["properties"]["outputs"]
    assert outputs["required"] == ["n", "c", "t"]
    assert outputs["properties"]["n"]["minimum"] == 0
    assert outputs["properties"]["c"]["items"] == %{"$ref" => "#/$defs/Color"}
    assert schema["$defs"]["Color"]["const"] == "red"
    assert Signature.field_schema(hd(signature.inputs)) == DSPex.Ordered.new([{"type", "string"}])
  end

  test "control characters of a wrong signature are shown, and not sent to the terminal" do
    {:error, error} = DSPex.Signature.parse("a: \e[31mnope\a\r\u009b -> c")
    message = Exception.message(error)
    refute message =~ ~r/[\e\a\r\x{9b}]/u
    assert message =~ "    a: ␛[31mnope␇␍� -> c\n       ^"
  end
end
