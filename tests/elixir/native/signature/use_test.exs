defmodule DSPex.Native.SignatureUseTest do
  use ExUnit.Case, async: true

  defmodule Answer do
    use DSPex.Signature

    @desc "Answer in one sentence."
    signature(
      (question: :string, context: {:list, :string} ->
         [answer: :string, score: {:float, desc: "how sure", ge: 0, le: 1}])
    )
  end

  defmodule Sorted do
    use DSPex.Signature
    @dspex_types %{"Color" => %{"enum" => ["red", "green"]}}
    signature("text -> color: Color, tone: Literal['warm', 'cold']")
  end

  defmodule Wide do
    use DSPex.Signature

    signature([a: {:optional, :integer}, b: {:map, :string, :any}, c: {:one_of, ["x", 2]}],
      d: {:union, [:integer, :string]},
      e: {:tuple, [:date, :boolean]},
      f: "list[dspy.Image]"
    )
  end

  defmodule Block do
    use DSPex.Signature

    signature do
      question(:string), context({:list, :string}) ->
        answer(:string, desc: "one sentence")
        score({:optional, :float})
    end
  end

  defmodule Short do
    use DSPex.Signature

    signature do
      question: :string -> [answer: :string]
    end
  end

  @tag req: ["FR3.1.2", "NFR4.1.1"]
  test "what Elixir's own parser reads as an arrow is taken in each of its forms" do
    assert DSPex.Signature.to_string(Block.signature()) ==
             "question: str, context: list[str] -> answer: str, score: Optional[float]"

    assert hd(Block.signature().outputs).desc == "one sentence"
    assert DSPex.Signature.to_string(Short.signature()) == "question: str -> answer: str"

    for {code, read} <- [
          {"signature question: :string -> answer: :string", :error},
          {"signature (question: :string -> answer: :string)", :error},
          {"signature [question: :string] -> [answer: :string]", :error},
          {"signature (question: :string -> [answer: :string])", :ok},
          {"signature do\nquestion: :string -> [answer: :string]\nend", :ok},
          {"signature do\nquestion(:string) -> answer(:string)\nend", :ok},
          {"signature [question: :string], answer: :string", :ok}
        ],
        do: assert({code, parsed(code)} == {code, read})
  end

  # Elixir warns of an arrow with nothing behind it.
  defp parsed(code) do
    ExUnit.CaptureIO.capture_io(:stderr, fn -> send(self(), {:parsed, code |> Code.string_to_quoted() |> elem(0)}) end)
    receive do: ({:parsed, result} -> result)
  end

  @tag req: "FR3.1.2"
  test "fields, descriptions, constraints and instructions come from the declaration" do
    signature = Answer.signature()

    assert DSPex.Signature.to_string(signature) ==
             "question: str, context: list[str] -> answer: str, score: Annotated[float, Field(ge=0, le=1)]"

    assert {signature.name, signature.instructions} == {"Answer", "Answer in one sentence."}
    assert List.last(signature.outputs).desc == "how sure"
  end

  @tag req: "FR3.1.2"
  test "a module may hold text and register types" do
    assert DSPex.Signature.to_string(Sorted.signature()) == "text -> color: Color, tone: Literal['warm', 'cold']"

    assert DSPex.Signature.to_string(Wide.signature()) ==
             "a: Optional[int], b: dict[str, Any], c: Literal['x', 2] -> " <>
               "d: Union[int, str], e: tuple[datetime.date, bool], f: list[dspy.Image]"
  end

  @tag req: ["FR3.1.2", "NFR4.1.4"]
  test "a wrong declaration is an error when the module is compiled" do
    for {name, declaration} <- [{"A", "signature \"q -> a: strng\""}, {"B", "signature (q: :strng -> [a: :string])"}] do
      source = "defmodule #{inspect(__MODULE__)}.Wrong#{name} do\n  use DSPex.Signature\n  #{declaration}\nend"
      error = assert_raise DSPex.SignatureError, fn -> Code.compile_string(source) end
      assert error.suggestion == "Did you mean `str`?"
    end

    for {name, declaration} <- [{"C", "signature 5"}, {"D", "signature do\nq -> a\nend"}] do
      source = "defmodule #{inspect(__MODULE__)}.Wrong#{name} do\n  use DSPex.Signature\n  #{declaration}\nend"
      assert_raise CompileError, ~r/a signature is a text/, fn -> Code.compile_string(source) end
    end
  end
end
