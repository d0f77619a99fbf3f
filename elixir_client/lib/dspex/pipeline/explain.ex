defmodule DSPex.Pipeline.Explain do
  @moduledoc "Pictures of a pipeline: an indented text, and a Mermaid flowchart."

  alias DSPex.Pipeline.Step

  @doc "The steps as indented text: what each needs and gives."
  @spec text(DSPex.Pipeline.t()) :: String.t()
  def text(pipeline) do
    head = "#{pipeline.name || "pipeline"}: #{names(pipeline.inputs)} -> #{names(pipeline.outputs)}"
    Enum.join([head | lines(pipeline.steps, 1)], "\n")
  end

  @doc "The steps as a Mermaid flowchart."
  @spec mermaid(DSPex.Pipeline.t()) :: String.t()
  def mermaid(pipeline) do
    {edges, _last} = chain(pipeline.steps, ["inputs"])

    Enum.join(
      ["flowchart TD", ~s|  inputs(["#{escape(names(pipeline.inputs))}"])| | nodes(pipeline.steps)] ++ edges,
      "\n"
    )
  end

  defp lines(steps, depth) do
    Enum.flat_map(steps, fn step ->
      [
        String.duplicate("  ", depth) <>
          "#{step.path} #{title(step)}: #{names(step.needs)} -> #{names(step.gives)}#{notes(step)}"
      ] ++
        lines(step.children, depth + 1) ++ fallback(step, depth)
    end)
  end

  defp fallback(%Step{on_error: {:fallback, other}}, depth), do: lines([other], depth + 1)
  defp fallback(_step, _depth), do: []

  defp notes(step) do
    notes = [
      step.timeout != :infinity && "timeout #{step.timeout} ms",
      step.retries > 0 && "#{step.retries} retries",
      step.on_error == :continue && "passed over on error",
      step.compensate && "compensated"
    ]

    case Enum.filter(notes, & &1) do
      [] -> ""
      notes -> " (" <> Enum.join(notes, ", ") <> ")"
    end
  end

  defp title(%Step{kind: kind, name: name}), do: if(name == to_string(kind), do: name, else: "#{kind} #{name}")

  defp nodes(steps) do
    Enum.flat_map(steps, fn step ->
      [~s|  #{id(step)}["#{escape(title(step))}"]|] ++ nodes(step.children)
    end)
  end

  # `from` are the nodes that lead to the next step.
  defp chain(steps, from) do
    Enum.reduce(steps, {[], from}, fn step, {edges, from} ->
      into = Enum.map(from, &"  #{&1} --> #{id(step)}")
      {inside, last} = inside(step)
      {edges ++ into ++ inside, last}
    end)
  end

  defp inside(%Step{kind: :pipeline, children: children} = step), do: chain(children, [id(step)])
  defp inside(%Step{children: []} = step), do: {[], [id(step)]}

  defp inside(%Step{kind: kind, children: children} = step) when kind in [:map, :reduce] do
    [child] = children
    {edges, last} = chain([child], [id(step)])
    {edges ++ Enum.map(last, &"  #{&1} -. each .-> #{id(step)}"), [id(step)]}
  end

  defp inside(%Step{children: children} = step) do
    {edges, ends} = children |> Enum.map(&chain([&1], [id(step)])) |> Enum.unzip()
    open = if step.kind == :conditional and length(children) == 1, do: [id(step)], else: []
    {Enum.concat(edges), Enum.concat(ends) ++ open}
  end

  defp id(step), do: "s" <> String.replace(step.path, ~r/[^0-9A-Za-z]/, "_")
  defp escape(text), do: String.replace(text, ~s("), "#quot;")

  defp names(:unknown), do: "…"
  defp names([]), do: "()"
  defp names(names), do: Enum.join(names, ", ")
end
