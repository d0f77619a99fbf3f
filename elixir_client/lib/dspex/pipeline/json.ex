defmodule DSPex.Pipeline.Json do
  @moduledoc """
  Pipelines as JSON, to be kept and reused by name. Programs and native operations are written whole; a function is written
  by the name of its step and must be given again when reading (`functions: %{"score" => &MyApp.score/1}`); a predicate
  likewise, by the name of its conditional step. `compensate` stays with the code and is not written.
  """

  alias DSPex.Error
  alias DSPex.Pipeline.Native
  alias DSPex.Pipeline.Step
  alias DSPex.Program

  @format 1
  @options [:timeout, :retries, :on_error, :max_concurrency]

  @doc "The pipeline as JSON values; `:invalid_input` for a function whose step has no name of its own."
  @spec to_json(DSPex.Pipeline.t()) :: {:ok, DSPex.Ordered.t()} | {:error, Error.t()}
  def to_json(pipeline) do
    members = [
      {"format", @format},
      {"name", pipeline.name},
      {"inputs", known(pipeline.inputs)},
      {"timeout", finite(pipeline.timeout)},
      {"steps", Enum.map(pipeline.steps, &step/1)}
    ]

    {:ok, DSPex.Ordered.new(Enum.reject(members, fn {_name, value} -> is_nil(value) end))}
  catch
    {:unnamed, error} -> {:error, error}
  end

  @doc "Reads JSON values: the specifications of the steps, and the options of the pipeline."
  @spec read(map | DSPex.Ordered.t(), keyword) :: {:ok, [term], keyword} | {:error, Error.t()}
  def read(json, options \\ []) do
    with :ok <- check_format(json["format"]),
         {:ok, specs} <- specs(json["steps"], Keyword.get(options, :functions, %{})) do
      own = [name: json["name"], inputs: json["inputs"], timeout: json["timeout"] || :infinity]
      {:ok, specs, Enum.reject(own, fn {_name, value} -> is_nil(value) end)}
    end
  catch
    {:malformed, error} -> {:error, error}
  end

  @doc "Writes `<folder>/<name>.json`."
  @spec save(DSPex.Pipeline.t(), Path.t()) :: {:ok, Path.t()} | {:error, Error.t()}
  def save(%{name: name} = pipeline, folder) do
    with {:ok, path} <- path(folder, name),
         {:ok, json} <- to_json(pipeline),
         {:ok, text, []} <- DSPex.Wire.Json.encode(json),
         :ok <- write(path, [text, "\n"]) do
      {:ok, path}
    end
  end

  @doc "Reads `<folder>/<name>.json`, as JSON values."
  @spec load(Path.t(), String.t()) :: {:ok, DSPex.Ordered.t()} | {:error, Error.t()}
  def load(folder, name) do
    with {:ok, path} <- path(folder, name), {:ok, text} <- read_file(path), do: decode(text, path)
  end

  defp step(%Step{} = step) do
    options = for name <- @options, value = option(name, step), value != nil, do: {Atom.to_string(name), value}
    body = [{"step", Atom.to_string(step.kind)}, {"name", step.name} | body(step)]
    DSPex.Ordered.new(body ++ if(options == [], do: [], else: [{"options", DSPex.Ordered.new(options)}]))
  end

  defp body(%Step{kind: :function} = step) do
    if step.name == "function", do: throw({:unnamed, unnamed(step)})
    Enum.reject([{"inputs", step.needs}, {"outputs", known(step.gives)}], fn {_name, value} -> is_nil(value) end)
  end

  defp body(%Step{kind: :native, body: {operation, _prepared}, options: options}) do
    [
      {"operation", Atom.to_string(operation)},
      {"with", Map.new(options, fn {name, value} -> {Atom.to_string(name), value} end)}
    ]
  end

  defp body(%Step{kind: :program, body: {program, rename}, options: options}) do
    with_options = for {name, value} <- options, name != :implementation, into: %{}, do: {Atom.to_string(name), value}
    python = if options[:implementation] == :python, do: [{"implementation", "python"}], else: []
    [{"program", Program.to_json(program)}] ++ python ++ non_empty("rename", rename) ++ non_empty("with", with_options)
  end

  defp body(%Step{kind: :conditional, children: children} = step) do
    if step.name == "conditional", do: throw({:unnamed, unnamed(step)})
    [{"steps", Enum.map(children, &step/1)}]
  end

  defp body(%Step{kind: :map, body: field, as: as, children: [child]}),
    do: [{"field", field}, {"as", as}, {"steps", [step(child)]}]

  defp body(%Step{kind: :reduce, body: {field, acc, initial}, as: as, children: [child]}) do
    [{"field", field}, {"as", as}, {"acc", acc}, {"initial", initial}, {"steps", [step(child)]}]
  end

  defp body(%Step{children: children}), do: [{"steps", Enum.map(children, &step/1)}]

  defp option(:on_error, %Step{on_error: {:fallback, other}}), do: DSPex.Ordered.new([{"fallback", step(other)}])
  defp option(:on_error, %Step{on_error: :continue}), do: "continue"
  defp option(:on_error, _step), do: nil
  defp option(:timeout, step), do: finite(step.timeout)
  defp option(:retries, step), do: if(step.retries > 0, do: step.retries)
  defp option(:max_concurrency, %Step{kind: kind} = step) when kind in [:map, :parallel], do: step.max_concurrency
  defp option(:max_concurrency, _step), do: nil

  defp specs(steps, functions) when is_list(steps), do: {:ok, Enum.map(steps, &spec(&1, functions))}
  defp specs(_other, _functions), do: {:error, malformed("its steps are no list")}

  defp spec(json, functions) do
    options = options(json, functions)
    kind = json["step"]
    children = for child <- json["steps"] || [], do: spec(child, functions)

    case {kind, children} do
      {"function", []} ->
        {:function, function(json, functions), [{:inputs, json["inputs"] || []} | outputs(json)] ++ options}

      {"native", []} ->
        {:native, operation(json["operation"]), native_options(json["with"]) ++ options}

      {"program", []} ->
        {:program, program(json["program"]), program_options(json) ++ options}

      {"pipeline", [_first | _rest]} ->
        {:pipeline, children, options}

      {"parallel", [_first | _rest]} ->
        {:parallel, children, options}

      {"conditional", [yes | no]} ->
        {:conditional, function(json, functions), yes, List.first(no), options}

      {"map", [child]} ->
        {:map, json["field"], child, [{:as, json["as"] || "item"} | options]}

      {"reduce", [child]} ->
        {:reduce, json["field"], child, json["initial"],
         [as: json["as"] || "item", acc: json["acc"] || "acc"] ++ options}

      _other ->
        throw({:malformed, malformed("there is no step #{inspect(kind)} with #{length(children)} steps in it")})
    end
  end

  defp options(json, functions) do
    given = json["options"] || %{}

    plain =
      for name <- @options, name != :on_error, value = given[Atom.to_string(name)], value != nil, do: {name, value}

    on_error =
      case given["on_error"] do
        nil -> []
        "continue" -> [on_error: :continue]
        fallback -> [on_error: {:fallback, spec(fallback["fallback"], functions)}]
      end

    [{:name, json["name"]} | plain] ++ on_error
  end

  defp outputs(json), do: if(json["outputs"], do: [outputs: json["outputs"]], else: [])

  defp function(json, functions) do
    name = json["name"]
    problem = "the function #{inspect(name)} is not given: pass functions: %{#{inspect(name)} => fun}"
    functions[name] || throw({:malformed, malformed(problem)})
  end

  defp operation(name) do
    Enum.find(Native.names(), &(Atom.to_string(&1) == name)) ||
      throw({:malformed, malformed("there is no native operation #{inspect(name)}")})
  end

  defp native_options(members), do: known_options(members, [:template, :schema, :field, :reference, :as])

  defp program_options(json) do
    python = if json["implementation"] == "python", do: [implementation: :python], else: []
    rename = if json["rename"], do: [rename: DSPex.Ordered.plain(json["rename"])], else: []
    python ++ rename ++ known_options(json["with"], [:lm, :adapter, :config, :tenant])
  end

  defp known_options(nil, _names), do: []

  defp known_options(members, names),
    do: for(name <- names, value = members[Atom.to_string(name)], value != nil, do: {name, value})

  defp program(json) do
    case Program.from_json(json || %{}) do
      {:ok, program} -> program
      {:error, error} -> throw({:malformed, error})
    end
  end

  defp check_format(@format), do: :ok

  defp check_format(other),
    do: {:error, malformed("its format is #{inspect(other)}; this version reads format #{@format}")}

  defp path(folder, name) do
    if is_binary(name) and name =~ ~r/\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z/,
      do: {:ok, Path.join(folder, name <> ".json")},
      else:
        {:error,
         Error.new(
           :invalid_input,
           "a pipeline is kept under a name of letters, digits, _ . and -, not #{inspect(name)}"
         )}
  end

  # Whoever reads meanwhile sees the old file or the new one, never half of one.
  defp write(path, text) do
    temporary = "#{path}.#{System.unique_integer([:positive])}.tmp"

    with :ok <- File.mkdir_p(Path.dirname(path)),
         :ok <- File.write(temporary, text),
         :ok <- File.rename(temporary, path) do
      :ok
    else
      {:error, reason} -> {:error, Error.new(:unavailable, "#{path} cannot be written: #{:file.format_error(reason)}")}
    end
  end

  defp read_file(path) do
    with {:error, reason} <- File.read(path),
         do: {:error, Error.new(:not_found, "#{path} cannot be read: #{:file.format_error(reason)}")}
  end

  defp decode(text, path) do
    case DSPex.Wire.Json.library().decode(text) do
      {:ok, raw} -> {:ok, ordered(raw)}
      {:error, problem} -> {:error, malformed("#{path} is no JSON: #{problem}")}
    end
  end

  defp ordered({pairs}), do: DSPex.Ordered.new(for {key, value} <- pairs, do: {key, ordered(value)})
  defp ordered(list) when is_list(list), do: Enum.map(list, &ordered/1)
  defp ordered(value), do: value

  defp non_empty(_name, map) when map == %{}, do: []
  defp non_empty(name, map), do: [{name, map}]

  defp known(:unknown), do: nil
  defp known(names), do: names
  defp finite(:infinity), do: nil
  defp finite(timeout), do: timeout

  defp unnamed(step),
    do:
      Error.new(
        :invalid_input,
        "step #{step.path} is a function without a name: give it one (name: \"…\") to keep the pipeline"
      )

  defp malformed(problem), do: Error.new(:invalid_input, "the pipeline cannot be read: #{problem}")
end
