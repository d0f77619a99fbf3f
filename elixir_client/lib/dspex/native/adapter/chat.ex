defmodule DSPex.Native.Adapter.Chat do
  @moduledoc """
  DSPy's `ChatAdapter`: sections under `[[ ## name ## ]]`, byte for byte what DSPy 3.4.1 sends, and what it reads back.

      iex> signature = DSPex.Signature.parse!("question -> answer: int")
      iex> [_system, user] = DSPex.Native.Adapter.Chat.format(signature, [], %{question: "2+2?"})
      iex> user["content"] |> String.split("\\n") |> Enum.take(2)
      ["[[ ## question ## ]]", "2+2?"]
      iex> DSPex.Native.Adapter.Chat.parse(signature, "[[ ## answer ## ]]\\n4\\n\\n[[ ## completed ## ]]")
      {:ok, %{"answer" => 4}}
  """

  @behaviour DSPex.Native.Adapter.Prompt

  alias DSPex.Native.Adapter.Fields
  alias DSPex.Native.Adapter.Outputs
  alias DSPex.Native.Adapter.ParseError
  alias DSPex.Native.Adapter.Prompt
  alias DSPex.Native.Python
  alias DSPex.Native.Response
  alias DSPex.Signature

  @intro "All interactions will be structured in the following way, with the appropriate values filled in."
  @completed "[[ ## completed ## ]]"

  @doc """
  The messages for one request. `demos` are lists of maps of all fields, `inputs` the values of the inputs. Maps of the
  caller print with their keys sorted; `DSPex.Ordered` keeps its order.
  """
  @spec format(Signature.t(), [map], map | keyword) :: [Prompt.message()]
  def format(signature, demos, inputs) do
    __MODULE__ |> Prompt.messages(signature, Enum.map(demos, &Prompt.pairs/1), Prompt.pairs(inputs)) |> Prompt.plain()
  end

  @doc """
  The outputs in a completion. The first of two sections with one name counts; what stands outside sections is dropped.
  A value that only Python's `json_repair` could read gives an error of kind `:needs_python`.
  """
  @spec parse(Signature.t(), String.t()) :: {:ok, map} | {:error, ParseError.t()}
  def parse(signature, completion), do: signature |> values(completion) |> Outputs.plain()

  @doc "As `parse/2`, but in order, and with the terms of `DSPex.Native.Python`."
  @spec values(Signature.t(), String.t()) :: {:ok, [{String.t(), Python.value()}]} | {:error, ParseError.t()}
  def values(signature, completion) do
    with :ok <- Outputs.text(:chat, signature, completion) do
      found = sections(completion)

      signature
      |> Outputs.collect(:chat, completion, fn field ->
        case found do
          %{^field => text} -> {:ok, text}
          _others -> :missing
        end
      end)
    end
  end

  @doc "See `DSPex.Native.Response.sections/1`."
  @spec sections(String.t()) :: %{optional(String.t()) => String.t()}
  defdelegate sections(completion), to: Response

  @impl Prompt
  def native_tools?, do: false

  @impl Prompt
  def structure(signature) do
    [
      @intro,
      placeholders(signature.inputs),
      placeholders(signature.outputs),
      @completed <> "\n"
    ]
    |> Enum.join("\n\n")
    |> Python.strip()
  end

  defp placeholders(fields),
    do: fields |> Enum.map_join("\n\n", &"[[ ## #{&1.name} ## ]]\n#{Fields.placeholder(&1)}") |> Python.strip()

  @impl Prompt
  def user(signature, values, prefix, request?) do
    requirements = if request?, do: [requirements(signature)], else: []
    Python.strip(Enum.join([prefix | given(signature, values)] ++ requirements ++ [""], "\n\n"))
  end

  @doc false
  def given(signature, values) do
    for field <- signature.inputs,
        {_name, value} <- [List.keyfind(values, field.name, 0)],
        do: "[[ ## #{field.name} ## ]]\n#{Fields.format(field, value)}"
  end

  defp requirements(signature) do
    fields = Enum.map_join(signature.outputs, ", then ", &"`[[ ## #{&1.name} ## ]]`#{Fields.type_info(&1)}")

    "Respond with the corresponding output fields, starting with the field #{fields}" <>
      ", and then ending with the marker for `#{@completed}`."
  end

  @impl Prompt
  def assistant(signature, values, missing) do
    signature.outputs
    |> Enum.map_join("\n\n", &"[[ ## #{&1.name} ## ]]\n#{Fields.format(&1, Map.get(values, &1.name, missing))}")
    |> Python.strip()
    |> Kernel.<>("\n\n#{@completed}\n")
  end
end
