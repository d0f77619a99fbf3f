defmodule DSPex.Native.Adapter.JSON do
  @moduledoc """
  DSPy's `JSONAdapter`: the outputs are one JSON object. `response_schema/2` is what it sends as structured output format.

      iex> signature = DSPex.Signature.parse!("question -> answer: int")
      iex> DSPex.Native.Adapter.JSON.parse(signature, ~S(```json {"answer": "4"}```))
      {:ok, %{"answer" => 4}}
  """

  @behaviour DSPex.Native.Adapter.Prompt

  alias DSPex.Native.Adapter.Chat
  alias DSPex.Native.Adapter.Fields
  alias DSPex.Native.Adapter.JsonText
  alias DSPex.Native.Adapter.Outputs
  alias DSPex.Native.Adapter.ParseError
  alias DSPex.Native.Adapter.Prompt
  alias DSPex.Native.Adapter.Repair
  alias DSPex.Native.Adapter.ResponseSchema
  alias DSPex.Native.Python
  alias DSPex.Signature

  @intro "All interactions will be structured in the following way, with the appropriate values filled in."

  @doc "As `DSPex.Native.Adapter.Chat.format/3`."
  @spec format(Signature.t(), [map], map | keyword) :: [Prompt.message()]
  def format(signature, demos, inputs) do
    __MODULE__ |> Prompt.messages(signature, Enum.map(demos, &Prompt.pairs/1), Prompt.pairs(inputs)) |> Prompt.plain()
  end

  @doc "As `DSPex.Native.Adapter.Chat.parse/2`."
  @spec parse(Signature.t(), String.t()) :: {:ok, map} | {:error, ParseError.t()}
  def parse(signature, completion), do: signature |> values(completion) |> Outputs.plain()

  @doc "As `parse/2`, but in order, and with the terms of `DSPex.Native.Python`."
  @spec values(Signature.t(), String.t()) :: {:ok, [{String.t(), Python.value()}]} | {:error, ParseError.t()}
  def values(signature, completion) do
    with :ok <- Outputs.text(:json, signature, completion),
         {:ok, {pairs}} <- object(signature, completion) do
      found = Map.new(pairs)

      Outputs.collect(signature, :json, completion, fn field ->
        case found do
          %{^field => value} -> {:ok, value}
          _others -> :missing
        end
      end)
    end
  end

  defp object(signature, completion) do
    case Repair.loads(completion) do
      {:ok, {pairs}} when is_list(pairs) -> {:ok, {pairs}}
      :unsure -> needs_python(signature, completion)
      {:ok, _other} -> embedded(signature, completion)
    end
  end

  # DSPy looks for the first balanced pair of braces.
  defp embedded(signature, completion) do
    with text when is_binary(text) <- Repair.balanced(completion),
         {:ok, {pairs}} when is_list(pairs) <- Repair.loads(text) do
      {:ok, {pairs}}
    else
      :unsure -> needs_python(signature, completion)
      _none -> {:error, ParseError.new(:json, :not_an_object, signature, completion)}
    end
  end

  defp needs_python(signature, completion),
    do: {:error, ParseError.new(:json, :needs_python, signature, completion)}

  @doc """
  The JSON Schema that DSPy sends as `response_format`, or why it sends `json_object` instead. Options:
  `:native_tool_calls` (default true) leaves fields of type `dspy.ToolCalls` out.
  """
  @spec response_schema(Signature.t(), keyword) :: {:ok, DSPex.Ordered.t()} | {:error, String.t()}
  defdelegate response_schema(signature, options \\ []), to: ResponseSchema, as: :build

  @impl Prompt
  def native_tools?, do: true

  @impl Prompt
  def structure(signature) do
    inputs =
      signature.inputs |> Enum.map_join("\n\n", &"[[ ## #{&1.name} ## ]]\n#{Fields.placeholder(&1)}") |> Python.strip()

    outputs = JsonText.dumps_indented({Enum.map(signature.outputs, &{&1.name, Fields.placeholder(&1)})})

    [@intro, "Inputs will have the following structure:", inputs]
    |> Kernel.++(["Outputs will be a JSON object with the following fields.", outputs])
    |> Enum.join("\n\n")
    |> Python.strip()
  end

  @impl Prompt
  def user(signature, values, prefix, request?) do
    requirements = if request?, do: [requirements(signature)], else: []
    Python.strip(Enum.join([prefix | Chat.given(signature, values)] ++ requirements ++ [""], "\n\n"))
  end

  defp requirements(signature) do
    fields = Enum.map_join(signature.outputs, ", then ", &"`#{&1.name}`#{Fields.type_info(&1)}")
    "Respond with a JSON object in the following order of fields: #{fields}."
  end

  @impl Prompt
  def assistant(signature, values, missing) do
    {Enum.map(signature.outputs, &{&1.name, Map.get(values, &1.name, missing)})}
    |> JsonText.jsonable()
    |> JsonText.dumps_indented()
  end
end
