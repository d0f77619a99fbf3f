defmodule DSPex.Signature do
  @moduledoc """
  The inputs and outputs of a program, in DSPy's own words.

      iex> signature = DSPex.Signature.parse!("question, context: list[str] -> answer, score: float")
      iex> Enum.map(DSPex.Signature.fields(signature), &{&1.role, &1.name, &1.type})
      [{:input, "question", :str}, {:input, "context", {:list, [:str]}}, {:output, "answer", :str}, {:output, "score", :float}]

  A module can hold one, checked when it is compiled:

      defmodule Answer do
        use DSPex.Signature

        @desc "Answer in one sentence."
        signature (question: :string, context: {:list, :string} -> [answer: :string, score: :float])
      end

      Answer.signature()

  Text works as well: `signature "question -> answer: Literal['yes', 'no']"`.

  ## Coercions

  `validate_inputs/2` and `validate_outputs/2` take what pydantic takes in its lax mode: whole floats and texts of digits
  for `int`; texts and integers for `float`; `"yes"`, `"off"`, `1` and the like for `bool`; ISO 8601 texts and Unix times
  for dates; the value or the name of a member for an enum. They never turn a number into a `str`; an input without a type
  takes whatever can be printed. Constraints (`ge`, `max_length`, `pattern`, …) are checked after the coercion, and
  everything that is wrong is named at once.
  """

  alias DSPex.Native.Signature.Builder
  alias DSPex.Native.Signature.Cache
  alias DSPex.Native.Signature.Reader
  alias DSPex.Native.Signature.Schema
  alias DSPex.Native.Signature.Type
  alias DSPex.Native.Signature.Validation
  alias DSPex.Signature.Field
  alias DSPex.SignatureError

  defstruct [
    :text,
    :instructions,
    inputs: [],
    outputs: [],
    name: "StringSignature",
    types: %{},
    default_instructions?: true
  ]

  @type t :: %__MODULE__{
          text: String.t() | nil,
          instructions: String.t(),
          inputs: [Field.t()],
          outputs: [Field.t()],
          name: String.t(),
          types: map,
          default_instructions?: boolean
        }

  @type problem :: %{path: [String.t() | non_neg_integer], message: String.t()}

  @doc """
  Parses signature text. Options: `:instructions`, `:types` (names to JSON Schemas), `:name`.

      iex> {:ok, signature} = DSPex.Signature.parse("who: Person -> age: int", types: %{"Person" => %{"type" => "object"}})
      iex> DSPex.Signature.to_string(signature)
      "who: Person -> age: int"
  """
  @spec parse(String.t(), keyword) :: {:ok, t} | {:error, SignatureError.t()}
  def parse(text, options \\ []), do: text |> Reader.parse(options) |> made()

  # What the layers below read has the keys of the struct.
  defp made({:ok, parts}), do: {:ok, Map.merge(%__MODULE__{}, parts)}
  defp made({:error, error}), do: {:error, error}

  @doc "As `parse/2`, raising `DSPex.SignatureError`."
  @spec parse!(String.t(), keyword) :: t
  def parse!(text, options \\ []), do: text |> parse(options) |> bang!()

  defp bang!({:ok, signature}), do: signature
  defp bang!({:error, error}), do: raise(error)

  @doc "Parses once: the result is kept in a bounded cache and found again without copying."
  @spec compile(String.t()) :: {:ok, t} | {:error, SignatureError.t()}
  def compile(text) do
    case Cache.fetch(:signature, text) do
      nil -> with {:ok, signature} <- parse(text), do: {:ok, Cache.put(:signature, text, signature)}
      signature -> {:ok, signature}
    end
  end

  @doc """
  A signature from fields, as a program's JSON holds them: maps of `"name"`, `"role"`, `"type"` or `"schema"`, `"desc"`,
  `"prefix"`, `"constraints"`, `"default"`. Options as for `parse/2`.

      iex> fields = [%{"name" => "q", "role" => "input"}, %{"name" => "n", "role" => "output", "type" => "int"}]
      iex> {:ok, signature} = DSPex.Signature.new(fields, instructions: "Count.")
      iex> DSPex.Signature.to_string(signature)
      "q -> n: int"
  """
  @spec new([map], keyword) :: {:ok, t} | {:error, SignatureError.t()}
  def new(fields, options \\ []), do: fields |> Builder.build(options) |> made()

  @doc """
  The signature as programs hold it: a map of `"name"`, `"instructions"` and `"fields"`, which `new/2` reads. Types that
  were registered stand there as their JSON Schema.

      iex> map = "q -> n: int" |> DSPex.Signature.parse!() |> DSPex.Signature.to_map()
      iex> map["fields"]
      [%{"name" => "q", "role" => "input"}, %{"name" => "n", "role" => "output", "type" => "int"}]
  """
  @spec to_map(t) :: %{String.t() => term}
  def to_map(%__MODULE__{} = signature) do
    fields = signature |> fields() |> Enum.map(&(&1 |> Builder.to_map() |> plain_members()))
    map = %{"name" => signature.name, "fields" => fields}
    if signature.default_instructions?, do: map, else: Map.put(map, "instructions", signature.instructions)
  end

  defp plain_members(map), do: Map.new(map, fn {key, value} -> {key, ordered(value)} end)

  @doc "All fields, inputs first."
  @spec fields(t) :: [Field.t()]
  def fields(%__MODULE__{inputs: inputs, outputs: outputs}), do: inputs ++ outputs

  @doc "The same signature with other instructions."
  @spec with_instructions(t, String.t()) :: t
  def with_instructions(%__MODULE__{} = signature, instructions),
    do: %{signature | instructions: Reader.clean(instructions), default_instructions?: false}

  @doc "The same signature without one field; unknown names change nothing, as in DSPy."
  @spec delete(t, String.t()) :: t
  def delete(%__MODULE__{} = signature, name) do
    drop = fn fields -> Enum.reject(fields, &(&1.name == name)) end
    %{signature | inputs: drop.(signature.inputs), outputs: drop.(signature.outputs), text: nil}
  end

  @doc "The same signature with a field put before the other fields of its role (`ChainOfThought` puts `reasoning` so)."
  @spec prepend(t, Field.t()) :: t
  def prepend(%__MODULE__{} = signature, %Field{role: :input} = field),
    do: %{signature | inputs: [field | signature.inputs], text: nil}

  def prepend(%__MODULE__{} = signature, %Field{role: :output} = field),
    do: %{signature | outputs: [field | signature.outputs], text: nil}

  @doc """
  The signature as text, without loss of names, order, types and constraints.

      iex> "a -> b: Annotated[int, Field(ge=0)]" |> DSPex.Signature.parse!() |> DSPex.Signature.to_string()
      "a -> b: Annotated[int, Field(ge=0)]"
  """
  @spec to_string(t) :: String.t()
  def to_string(%__MODULE__{inputs: inputs, outputs: outputs}) do
    [Enum.map_join(inputs, ", ", &field_text/1), "->", Enum.map_join(outputs, ", ", &field_text/1)]
    |> Enum.reject(&(&1 == ""))
    |> Enum.join(" ")
  end

  defp field_text(%Field{typed?: false, type: :str, metadata: [], constraints: []} = field), do: field.name

  # `None` alone is read as a value, as Python does.
  defp field_text(%Field{type: :none, metadata: []} = field), do: "#{field.name}: Optional[None]"

  defp field_text(%Field{} = field) do
    options = if field.constraints == [], do: [], else: [{:field, field.constraints}]

    case field.metadata ++ options do
      [] -> "#{field.name}: #{Type.to_text(field.type)}"
      metadata -> "#{field.name}: #{Type.to_text({:annotated, field.type, metadata})}"
    end
  end

  @doc """
  The JSON Schema of the inputs and outputs, in order; types without one (`dspy.Tool`) allow everything.

      iex> schema = "q -> n: int" |> DSPex.Signature.parse!() |> DSPex.Signature.to_json_schema()
      iex> DSPex.Ordered.to_map(schema, deep: true)["properties"]["outputs"]["properties"]
      %{"n" => %{"type" => "integer", "description" => "${n}"}}
  """
  @spec to_json_schema(t) :: DSPex.Ordered.t()
  def to_json_schema(%__MODULE__{} = signature) do
    {inputs, defs} = Builder.object(signature.inputs, %{})
    {outputs, defs} = Builder.object(signature.outputs, defs)
    properties = {[{"inputs", inputs}, {"outputs", outputs}]}

    {[
       {"title", signature.name},
       {"description", signature.instructions},
       {"type", "object"},
       {"properties", properties},
       {"required", ["inputs", "outputs"]},
       {"additionalProperties", false}
     ]}
    |> Schema.with_defs(defs)
    |> ordered()
  end

  @doc "The JSON Schema of one field's type, as pydantic writes it; `nil` where it has none."
  @spec field_schema(Field.t()) :: DSPex.Ordered.t() | boolean | nil
  def field_schema(%Field{type: type}) do
    case Schema.of(type) do
      {:ok, schema} -> ordered(schema)
      :error -> nil
    end
  end

  defp ordered({pairs}), do: DSPex.Ordered.new(Enum.map(pairs, fn {key, value} -> {key, ordered(value)} end))
  defp ordered(list) when is_list(list), do: Enum.map(list, &ordered/1)
  defp ordered(value), do: value

  @doc """
  Checks and coerces the inputs: exactly the declared fields, each of its type. All problems come at once.

      iex> signature = DSPex.Signature.parse!("q, k: int -> a")
      iex> DSPex.Signature.validate_inputs(signature, %{q: "why?", k: "3"})
      {:ok, %{"q" => "why?", "k" => 3}}
      iex> {:error, error} = DSPex.Signature.validate_inputs(signature, %{k: "x", z: 1})
      iex> Enum.map(error.details["problems"], & &1["path"])
      [["q"], ["k"], ["z"]]
  """
  @spec validate_inputs(t, map | keyword | DSPex.Ordered.t()) :: {:ok, map} | {:error, DSPex.Error.t()}
  def validate_inputs(%__MODULE__{inputs: fields}, values), do: Validation.validate(fields, values, "input")

  @doc "As `validate_inputs/2`, for outputs."
  @spec validate_outputs(t, map | keyword | DSPex.Ordered.t()) :: {:ok, map} | {:error, DSPex.Error.t()}
  def validate_outputs(%__MODULE__{outputs: fields}, values), do: Validation.validate(fields, values, "output")

  @doc false
  defmacro __using__(_options) do
    quote do
      import DSPex.Signature, only: [signature: 1, signature: 2]
      Module.register_attribute(__MODULE__, :desc, accumulate: false)
      Module.register_attribute(__MODULE__, :dspex_types, accumulate: false)
    end
  end

  @doc """
  Declares the signature of a module that says `use DSPex.Signature`: text, or `(name: type, … -> [name: type, …])`, or

      signature do
        question(:string), context({:list, :string}) ->
          answer(:string, desc: "one sentence")
          score(:float)
      end

  (Elixir reads an arrow only inside parentheses or a block, and `name: type` after it only inside brackets: `signature
  question: :string -> answer: :string` is no Elixir. `signature/2` takes both lists without an arrow.) Types are `:string`, `:integer`, `:float`, `:boolean`, `:any`, `:map`, `{:list, type}`, `{:map, key, value}`, `{:optional, type}`,
  `{:one_of, values}`, `{:union, types}` or a type in text; `{type, desc: "…", ge: 0}` adds a description and constraints.
  `@desc` before it holds the instructions, `@dspex_types` a map of names to JSON Schemas.
  """
  defmacro signature(declaration), do: declaration |> Builder.declaration(__CALLER__) |> declare()

  defp declare(fields) do
    quote do
      @dspex_signature DSPex.Signature.declare!(unquote(fields), @desc, @dspex_types, __MODULE__)

      @doc "The signature of this module."
      @spec signature() :: DSPex.Signature.t()
      def signature, do: @dspex_signature
    end
  end

  @doc false
  @spec declare!(String.t() | [{String.t(), String.t(), term}], String.t() | nil, map | nil, module) :: t
  def declare!(declaration, instructions, types, module) do
    name = module |> Module.split() |> List.last()
    options = [instructions: instructions, types: types || %{}, name: name]
    declaration |> Builder.declared(options) |> made() |> bang!()
  end

  @doc "As `signature/1`, from a list of inputs and a list of outputs: `signature [q: :string], [a: :string]`."
  defmacro signature(inputs, outputs), do: declare(Builder.declaration(inputs, outputs))

  defimpl Inspect do
    def inspect(signature, _options), do: "#DSPex.Signature<#{DSPex.Signature.to_string(signature)}>"
  end
end
