defmodule DSPex.Native.Signature.Reader do
  @moduledoc """
  DSPy's signature text in Elixir, under the strict contract that both languages of this project hold: what DSPy takes
  without loss gives the very same fields here; what DSPy refuses, loses silently (default values, repeated names) or would
  import is an error that points to its place.
  """

  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Parser
  alias DSPex.Native.Signature.Prefix
  alias DSPex.Native.Signature.Resolver
  alias DSPex.Native.Signature.Type
  alias DSPex.Signature.Field
  alias DSPex.SignatureError

  @max_bytes 65_536
  # Names that DSPy's or pydantic's own class attributes break.
  @reserved ~w(fields input_fields output_fields instructions signature model_config model_dump model_dump_json
               model_validate model_validate_json model_validate_strings)
            |> Map.new(&{&1, true})

  @typedoc "The values of a `DSPex.Signature`, which is the layer above."
  @type parts :: %{
          inputs: [Field.t()],
          outputs: [Field.t()],
          name: String.t(),
          text: String.t() | nil,
          types: map,
          instructions: String.t(),
          default_instructions?: boolean
        }

  @doc """
  Parses a signature. Options: `:instructions` (else DSPy's default sentence), `:types` (a map of names to JSON Schemas
  or types), `:name`.

      iex> {:ok, signature} = DSPex.Native.Signature.Reader.parse("question -> answer: list[int]")
      iex> {signature.instructions, hd(signature.outputs).type}
      {"Given the fields `question`, produce the fields `answer`.", {:list, [:int]}}
  """
  @spec parse(String.t(), keyword) :: {:ok, parts} | {:error, SignatureError.t()}
  def parse(text, options \\ [])

  def parse(text, _options) when byte_size(text) > @max_bytes,
    do: problem(binary_part(text, 0, 72), {0, 0, "a signature has at most #{@max_bytes} bytes", "Shorten it."})

  def parse(text, options) when is_binary(text) do
    registered = types(options)

    with :ok <- valid(text),
         {:ok, inputs, outputs} <- Parser.signature(text),
         {:ok, inputs} <- fields(inputs, :input, registered, []),
         {:ok, outputs} <- fields(outputs, :output, registered, []) do
      {:ok, build(inputs, outputs, options[:instructions], registered, name: options[:name], text: text)}
    else
      {:error, problem} -> problem(text, problem)
    end
  end

  @doc "Parses one type, as it stands after a field's name."
  @spec parse_type(String.t(), keyword) :: {:ok, Type.t()} | {:error, SignatureError.t()}
  def parse_type(text, options \\ []) when is_binary(text) do
    with :ok <- valid(text),
         {:ok, node} <- Parser.type(text),
         {:ok, type} <- Resolver.type(node, types(options)) do
      {:ok, type}
    else
      {:error, problem} -> problem(text, problem)
    end
  end

  @doc "Puts a signature together from fields; `instructions` of `nil` are DSPy's own sentence."
  @spec build([Field.t()], [Field.t()], String.t() | nil, map, keyword) :: parts
  def build(inputs, outputs, instructions, registered, options) do
    %{
      inputs: inputs,
      outputs: outputs,
      name: options[:name] || "StringSignature",
      text: options[:text],
      types: registered,
      default_instructions?: instructions in [nil, ""],
      instructions: if(instructions in [nil, ""], do: default(inputs, outputs), else: clean(instructions))
    }
  end

  @doc "The types of the option `:types`: JSON Schemas become types."
  @spec types(keyword) :: map
  def types(options) do
    case options[:types] do
      nil -> %{}
      types -> Map.new(types, fn {name, type} -> {to_string(name), registered(to_string(name), type)} end)
    end
  end

  defp registered(name, {kind, %{name: own} = definition}) when kind in [:enum, :model],
    do: {kind, if(own == name, do: definition, else: Map.put(definition, :alias, name))}

  defp registered(name, schema), do: Type.registered(name, schema)

  @doc "One field with its inferred prefix and description, or why its name cannot be used."
  @spec field(String.t(), :input | :output, Type.t(), boolean, keyword) ::
          {:ok, Field.t()} | {:error, String.t(), String.t()}
  def field(name, _role, _type, _typed?, _options) when is_map_key(@reserved, name),
    do: {:error, "`#{name}` is a word of DSPy's own and cannot name a field", "Use `#{name}_`."}

  def field(name, role, type, typed?, options) do
    {type, metadata} = if match?({:annotated, _type, _metadata}, type), do: annotation(type), else: {type, []}

    {:ok,
     %Field{
       name: name,
       role: role,
       type: type,
       typed?: typed?,
       metadata: metadata,
       constraints: options[:constraints] || [],
       default: options[:default] || :none,
       prefix: options[:prefix] || Prefix.infer(name) <> ":",
       desc: options[:desc] || "${" <> name <> "}"
     }}
  end

  # As in pydantic, what `Annotated` says about a whole field belongs to the field, not to its type.
  defp annotation({:annotated, type, metadata}), do: {type, metadata}

  defp fields([], _role, _registered, done), do: {:ok, Enum.reverse(done)}

  defp fields([{name, node, {offset, length}} | rest], role, registered, done) do
    with {:ok, type} <- type(node, registered),
         {:ok, field} <- field(name, role, type, not is_nil(node), []) do
      fields(rest, role, registered, [field | done])
    else
      {:error, reason, suggestion} -> {:error, {offset, length, reason, suggestion}}
      {:error, problem} -> {:error, problem}
    end
  end

  defp type(nil, _registered), do: {:ok, :str}
  defp type({:name, "str", _span}, registered) when registered == %{}, do: {:ok, :str}
  defp type(node, registered), do: Resolver.type(node, registered)

  defp valid(text) do
    cond do
      not String.valid?(text) -> {:error, {0, 0, "the signature is not valid UTF-8", "Send text."}}
      :binary.match(text, <<0>>) != :nomatch -> {:error, {0, 0, "the signature holds a zero byte", "Send text."}}
      true -> :ok
    end
  end

  defp problem(text, {offset, length, reason, suggestion}),
    do: {:error, %SignatureError{text: text, offset: offset, length: length, reason: reason, suggestion: suggestion}}

  defp default(inputs, outputs), do: "Given the fields #{names(inputs)}, produce the fields #{names(outputs)}."

  defp names(fields), do: Enum.map_join(fields, ", ", &"`#{&1.name}`")

  @doc """
  Instructions as Python's `inspect.cleandoc` leaves them: tabs expanded, common indentation and blank edges gone.

      iex> DSPex.Native.Signature.Reader.clean("  First.\\n    Second.\\n      Third.\\n")
      "First.\\nSecond.\\n  Third."
  """
  @spec clean(String.t()) :: String.t()
  def clean(instructions) do
    [first | rest] = instructions |> expand_tabs() |> String.split("\n")
    margin = rest |> Enum.map(&indentation/1) |> Enum.reject(&is_nil/1) |> Enum.min(fn -> 0 end)
    rest = Enum.map(rest, &drop(&1, margin))

    [Python.strip_leading(first) | rest]
    |> Enum.drop_while(&(&1 == ""))
    |> Enum.reverse()
    |> Enum.drop_while(&(&1 == ""))
    |> Enum.reverse()
    |> Enum.join("\n")
  end

  defp indentation(line) do
    case Python.strip_leading(line) do
      "" -> nil
      content -> String.length(line) - String.length(content)
    end
  end

  defp drop(line, 0), do: line
  defp drop(line, count), do: String.slice(line, count..-1)

  defp expand_tabs(text) do
    if :binary.match(text, "\t") == :nomatch, do: text, else: expand(text, 0, [])
  end

  defp expand("", _column, done), do: done |> Enum.reverse() |> IO.iodata_to_binary()

  defp expand(<<?\t, rest::binary>>, column, done) do
    width = 8 - rem(column, 8)
    expand(rest, column + width, [String.duplicate(" ", width) | done])
  end

  defp expand(<<char, rest::binary>>, _column, done) when char in [?\n, ?\r], do: expand(rest, 0, [char | done])
  defp expand(<<char::utf8, rest::binary>>, column, done), do: expand(rest, column + 1, [<<char::utf8>> | done])
  defp expand(<<byte, rest::binary>>, column, done), do: expand(rest, column + 1, [byte | done])
end
