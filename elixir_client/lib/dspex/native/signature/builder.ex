defmodule DSPex.Native.Signature.Builder do
  @moduledoc "Signatures from fields as data, and from the declarations of `use DSPex.Signature`."

  alias DSPex.Native.Python
  alias DSPex.Native.Signature.Prefix
  alias DSPex.Native.Signature.Reader
  alias DSPex.Native.Signature.Schema
  alias DSPex.Native.Signature.Type
  alias DSPex.Signature.Field
  alias DSPex.SignatureError

  @constraints ~w(gt ge lt le multiple_of min_length max_length pattern)

  @doc "See `DSPex.Signature.new/2`."
  @spec build([map], keyword) :: {:ok, Reader.parts()} | {:error, SignatureError.t()}
  def build(fields, options) do
    registered = Reader.types(options)

    with {:ok, fields} <- each(fields, &field(&1, registered)),
         :ok <- distinct(fields) do
      {inputs, outputs} = Enum.split_with(fields, &(&1.role == :input))
      {:ok, Reader.build(inputs, outputs, options[:instructions], registered, options)}
    end
  end

  defp each(items, function) do
    items
    |> Enum.reduce_while({:ok, []}, fn item, {:ok, done} ->
      case function.(item) do
        {:ok, made} -> {:cont, {:ok, [made | done]}}
        {:error, error} -> {:halt, {:error, error}}
      end
    end)
    |> then(&with {:ok, done} <- &1, do: {:ok, Enum.reverse(done)})
  end

  defp field(map, registered) do
    map = if is_struct(map, DSPex.Ordered), do: DSPex.Ordered.to_map(map), else: map

    with {:ok, name} <- name(map["name"]),
         {:ok, role} <- role(map["role"], name),
         {:ok, type} <- type(map, name, registered),
         {:ok, constraints} <- constraints(map["constraints"] || [], name) do
      options = [prefix: map["prefix"], desc: map["desc"], constraints: constraints, default: default(map)]
      typed? = Map.get(map, "typed", is_binary(map["type"]) or not is_nil(map["schema"]))

      case Reader.field(name, role, type, typed?, options) do
        {:ok, field} -> {:ok, field}
        {:error, reason, suggestion} -> wrong(name, reason, suggestion)
      end
    end
  end

  defp name(name) when is_binary(name) and byte_size(name) <= 512 do
    case Reader.parse(name <> " -> ", []) do
      {:ok, %{inputs: [%Field{name: ^name}]}} -> {:ok, name}
      {:ok, _other} -> wrong(name, "`#{name}` cannot name a field", "Use letters, digits and `_`.")
      {:error, error} -> wrong(name, error.reason, error.suggestion)
    end
  end

  defp name(name), do: wrong(nil, "a field's name is a text, not #{inspect(name)}", "Give each field a `name`.")

  defp role(role, _name) when role in ["input", :input], do: {:ok, :input}
  defp role(role, _name) when role in ["output", :output], do: {:ok, :output}
  defp role(role, name), do: wrong(name, "a field's role is input or output, not #{inspect(role)}", "Set its `role`.")

  defp type(%{"schema" => schema}, name, _registered) when schema != nil do
    if is_boolean(schema), do: {:ok, :any}, else: {:ok, Type.registered(name, schema)}
  end

  defp type(%{"type" => text}, name, registered) when is_binary(text) do
    with {:error, error} <- Reader.parse_type(text, types: registered), do: {:error, %{error | field: name}}
  end

  defp type(_map, _name, _registered), do: {:ok, :str}

  defp constraints(constraints, name) do
    constraints = Enum.map(constraints, fn {key, value} -> {Kernel.to_string(key), value} end)

    case Enum.find(constraints, fn {key, _value} -> key not in @constraints end) do
      nil -> {:ok, constraints}
      {key, _value} -> wrong(name, "`#{key}` is no constraint", "Known are #{Enum.join(@constraints, ", ")}.")
    end
  end

  @doc "A field as `build/2` reads it; what is as it would be by itself is left out."
  @spec to_map(Field.t()) :: %{String.t() => term}
  def to_map(%Field{} = field) do
    own = if registered?(field.type), do: {"schema", schema(field.type)}, else: {"type", written(field)}

    [
      {"name", field.name},
      {"role", Atom.to_string(field.role)},
      (field.typed? or field.type != :str or field.metadata != []) && own,
      field.desc != "${#{field.name}}" && {"desc", field.desc},
      field.prefix != Prefix.infer(field.name) <> ":" && {"prefix", field.prefix},
      field.constraints != [] && {"constraints", {field.constraints}},
      field.default != :none && {"default", field.default |> elem(1) |> Python.to_elixir()}
    ]
    |> Enum.filter(& &1)
    |> Map.new()
  end

  # `None` alone is read as a value, as Python does.
  defp written(%Field{type: :none, metadata: []}), do: "Optional[None]"
  defp written(%Field{metadata: []} = field), do: Type.to_text(field.type)
  defp written(field), do: Type.to_text({:annotated, field.type, field.metadata})

  defp schema(type) do
    case Schema.of(type) do
      {:ok, schema} -> schema
      :error -> true
    end
  end

  # A worker does not know the types that were registered here.
  defp registered?({kind, %{name: _name}}) when kind in [:enum, :model], do: true
  defp registered?(type) when is_tuple(type), do: type |> Tuple.to_list() |> registered?()
  defp registered?(types) when is_list(types), do: Enum.any?(types, &registered?/1)
  defp registered?(_type), do: false

  defp default(%{"default" => value}), do: {:ok, Python.from_elixir(value)}
  defp default(_map), do: nil

  defp distinct(fields) do
    case fields -- Enum.uniq_by(fields, & &1.name) do
      [] ->
        :ok

      [%Field{name: name} | _more] ->
        wrong(name, "the field `#{name}` stands twice", "Give each field a name of its own.")
    end
  end

  defp wrong(name, reason, suggestion),
    do: {:error, %SignatureError{field: name, reason: reason, suggestion: suggestion}}

  @doc "An object schema of fields with their descriptions and constraints, and the definitions it points to."
  @spec object([Field.t()], map) :: {Schema.schema(), map}
  def object(fields, defs) do
    {properties, defs} = Enum.map_reduce(fields, defs, &property/2)
    required = for %Field{default: :none, name: name} <- fields, do: name

    {{[
        {"type", "object"},
        {"properties", {properties}},
        {"required", required},
        {"additionalProperties", false}
      ]}, defs}
  end

  defp property(%Field{} = field, defs) do
    metadata = field.metadata ++ [{:field, field.constraints}]
    {{pairs}, defs} = inner({:annotated, field.type, metadata}, defs)
    {{field.name, {List.keystore(pairs, "description", 0, {"description", field.desc})}}, defs}
  end

  defp inner(type, defs) do
    Schema.inner(type, defs)
  catch
    :no_schema -> {{[]}, defs}
  end

  @doc "The fields of a declaration, as quoted tuples or a text."
  @spec declaration(Macro.t(), Macro.Env.t() | Macro.t()) :: Macro.t()
  def declaration(text, %Macro.Env{}) when is_binary(text), do: text
  def declaration([do: clauses], %Macro.Env{} = env), do: declaration(clauses, env)

  def declaration([{:->, _meta, [inputs, outputs]}] = arrow, %Macro.Env{} = env) do
    with {:ok, inputs} <- side(inputs), {:ok, outputs} <- side(outputs) do
      declaration(inputs, outputs)
    else
      :error -> declaration({:arrow, [], arrow}, env)
    end
  end

  def declaration(other, %Macro.Env{} = env) do
    raise CompileError,
      file: env.file,
      line: env.line,
      description:
        "a signature is a text, `(name: type -> [name: type])` or `do name(type) -> name(type) end`, not #{shown(other)}"
  end

  def declaration(inputs, outputs), do: quoted(inputs, "input") ++ quoted(outputs, "output")

  defp shown({:arrow, [], arrow}), do: Macro.to_string({:fn, [], arrow})
  defp shown(other), do: Macro.to_string(other)

  # One side of an arrow: a keyword list, or calls such as `answer(:string, desc: "…")`, of which a block has several.
  defp side({:__block__, _meta, calls}), do: side(calls)
  defp side([fields]) when is_list(fields), do: side(fields)
  defp side(call) when is_tuple(call), do: side([call])

  defp side(fields) when is_list(fields) do
    fields = Enum.map(fields, &declared_side/1)
    if :error in fields, do: :error, else: {:ok, fields}
  end

  defp side(_other), do: :error

  defp declared_side({name, type}) when is_atom(name), do: {name, type}
  defp declared_side({name, meta, [type]}) when is_atom(name) and is_list(meta), do: {name, type}
  defp declared_side({name, meta, [type, options]}) when is_atom(name) and is_list(meta), do: {name, {type, options}}
  defp declared_side(_other), do: :error

  defp quoted(fields, role) do
    for {name, type} <- fields do
      quote do: {unquote(Atom.to_string(name)), unquote(role), unquote(type)}
    end
  end

  @doc "The parts of a signature that a module declares, as `declaration/2` gives it."
  @spec declared(String.t() | [{String.t(), String.t(), term}], keyword) ::
          {:ok, Reader.parts()} | {:error, SignatureError.t()}
  def declared(text, options) when is_binary(text), do: Reader.parse(text, options)
  def declared(fields, options), do: fields |> Enum.map(&declared_field/1) |> build(options)

  defp declared_field({name, role, {type, options}}) when is_list(options) and options != [] do
    if Keyword.keyword?(options) do
      {desc, constraints} = Keyword.pop(options, :desc)
      Map.merge(declared_field({name, role, type}), %{"desc" => desc, "constraints" => constraints})
    else
      %{"name" => name, "role" => role, "type" => type_text({type, options})}
    end
  end

  defp declared_field({name, role, type}), do: %{"name" => name, "role" => role, "type" => type_text(type)}

  @simple %{string: "str", integer: "int", float: "float", boolean: "bool", any: "Any", map: "dict", list: "list"}
  @more %{
    bytes: "bytes",
    date: "datetime.date",
    datetime: "datetime.datetime",
    time: "datetime.time",
    uuid: "uuid.UUID"
  }
  @dspy %{
    decimal: "decimal.Decimal",
    image: "dspy.Image",
    history: "dspy.History",
    code: "dspy.Code",
    tool: "dspy.Tool"
  }
  @words @simple |> Map.merge(@more) |> Map.merge(@dspy)

  defp type_text(text) when is_binary(text), do: text
  defp type_text(word) when is_map_key(@words, word), do: @words[word]
  defp type_text({:list, type}), do: "list[#{type_text(type)}]"
  defp type_text({:set, type}), do: "set[#{type_text(type)}]"
  defp type_text({:map, key, value}), do: "dict[#{type_text(key)}, #{type_text(value)}]"
  defp type_text({:optional, type}), do: "Optional[#{type_text(type)}]"
  defp type_text({:union, types}), do: "Union[#{Enum.map_join(types, ", ", &type_text/1)}]"
  defp type_text({:tuple, types}), do: "tuple[#{Enum.map_join(types, ", ", &type_text/1)}]"

  defp type_text({:one_of, values}) do
    Type.to_text({:literal, Enum.map(values, &Python.from_elixir/1)})
  end

  # An unknown word goes to the parser, which knows what to suggest.
  defp type_text(other) when is_atom(other), do: Atom.to_string(other)
  defp type_text(other), do: inspect(other)
end
